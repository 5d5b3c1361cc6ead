/** Turns that stream now. Their text lives here, outside React, and reaches it once per frame. */
import { useSyncExternalStore } from "react";
import { type Line, type LineState, openLine, TURN_EVENTS, type TurnEvent } from "./events";
import { EMPTY_TURN, type LiveAnswer, type LiveTurn, reduceTurn } from "./turn";

interface Attached {
  turn: LiveTurn;
  line: Line | null;
  state: LineState;
  waitingSince: number;
  users: number;
  /** Tries to come back since events last flowed. */
  tries: number;
}

/** How the lines are: fine, cut for a while, or cut so long that the person should know. */
export type Connection = "fine" | "reconnecting" | "offline";
const RECONNECTING_AFTER_MS = 2000;
const OFFLINE_AFTER_MS = 60_000;

const attached = new Map<string, Attached>();
const listeners = new Set<() => void>();
const newsListeners = new Set<(stream: string) => void>();
let connection: Connection = "fine";
let frame: number | ReturnType<typeof setTimeout> | null = null;

function publish(): void {
  frame = null;
  for (const listener of listeners) listener();
}

/** One render per frame however many deltas came; a hidden tab gets no frames, so it is told by a timer. */
function schedule(): void {
  if (frame !== null) return;
  frame = document.hidden ? setTimeout(publish, 200) : requestAnimationFrame(publish);
}

function measureConnection(): void {
  const cut = [...attached.values()].filter((one) => one.line && one.state === "waiting");
  const longest = Math.max(0, ...cut.map((one) => Date.now() - one.waitingSince));
  const now =
    longest > OFFLINE_AFTER_MS ? "offline" : longest > RECONNECTING_AFTER_MS ? "reconnecting" : "fine";
  if (now === connection) return;
  connection = now;
  schedule();
}
setInterval(measureConnection, 500);

function take(stream: string, id: string, event: TurnEvent): void {
  const one = attached.get(stream);
  if (!one) return;
  one.turn = reduceTurn(one.turn, id, event);
  schedule();
  if (!one.turn.ended) return;
  one.line?.close();
  one.line = null;
  for (const listener of newsListeners) listener(stream);
}

/** Follows a turn's stream, from where it was left if it was followed before. Returns how to let go. */
export function follow(stream: string): () => void {
  const one: Attached = attached.get(stream) ?? {
    turn: EMPTY_TURN,
    line: null,
    state: "open",
    waitingSince: 0,
    users: 0,
    tries: 0,
  };
  attached.set(stream, one);
  one.users += 1;
  if (!one.line && !one.turn.ended) {
    one.line = openLine(
      stream,
      TURN_EVENTS,
      one.turn.last,
      (_name, id, data) => take(stream, id, data as TurnEvent),
      (state) => {
        if (state === "waiting" && one.state === "open") one.waitingSince = Date.now();
        one.tries = state === "waiting" ? one.tries + 1 : 0;
        one.state = state;
        // The stream may be gone because the turn has ended: what is fetched now has its texts.
        if (one.tries > 1) for (const listener of newsListeners) listener(stream);
        measureConnection();
      },
    );
  }
  return () => {
    one.users -= 1;
    if (one.users > 0) return;
    one.line?.close();
    one.line = null;
  };
}

/** Calls back when a followed turn has ended, or may have because its stream cannot be reached. */
export function onTurnNews(listener: (stream: string) => void): () => void {
  newsListeners.add(listener);
  return () => newsListeners.delete(listener);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function turnOf(stream: string | null): LiveTurn | undefined {
  return stream === null ? undefined : attached.get(stream)?.turn;
}

export function useLiveAnswer(stream: string | null, answerId: string): LiveAnswer | undefined {
  return useSyncExternalStore(subscribe, () => turnOf(stream)?.answers[answerId]);
}

export function useLiveReady(stream: string | null): boolean {
  return useSyncExternalStore(subscribe, () => turnOf(stream)?.ready ?? false);
}

/** How many go first while this turn waits for the engines; null when it does not. */
export function useAhead(stream: string | null): number | null {
  return useSyncExternalStore(subscribe, () => turnOf(stream)?.ahead ?? null);
}

export function useConnection(): Connection {
  return useSyncExternalStore(subscribe, () => connection);
}

interface Streamed {
  id: string;
  state: LiveAnswer["state"];
  stream: string | null;
}

const isStreaming = (answer: Streamed) =>
  answer.state === "streaming" &&
  (turnOf(answer.stream)?.answers[answer.id]?.state ?? "streaming") === "streaming";

/** Whether any of these answers is still being written, by what is known this moment. */
export function useStreaming(answers: readonly Streamed[]): boolean {
  return useSyncExternalStore(subscribe, () => answers.some(isStreaming));
}
