/** Server-sent events: typed, each once, continued after a break from the last id that was seen. */
import type { Engine, MetricRow, Run } from "./api";
import type { components } from "./api-types";

type Schemas = components["schemas"];
export type TurnEvent =
  | Schemas["AnswerStart"]
  | Schemas["AnswerDelta"]
  | Schemas["AnswerEnd"]
  | Schemas["DuelReady"]
  | { type: "turn.waiting"; ahead: number }
  | Schemas["TurnEnd"];

export type FeedEvent =
  | { type: "run"; data: Run }
  | { type: "metric"; data: MetricRow }
  | { type: "policy"; data: unknown }
  | { type: "vote"; data: unknown }
  | { type: "opinions"; data: { votes: string[] } }
  | { type: "engines"; data: { engines: Engine[] } };

export const TURN_EVENTS = [
  "turn.waiting",
  "answer.start",
  "answer.delta",
  "answer.end",
  "duel.ready",
  "turn.end",
] as const;
export const FEED_EVENTS = ["run", "metric", "policy", "vote", "opinions", "engines"] as const;

/** `open`: events flow. `waiting`: the line is cut and will be tried again. */
export type LineState = "open" | "waiting";

export interface Line {
  close(): void;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;

/** Wait before the n-th try to come back: 1, 2, 4, 8 s, spread by a quarter so that tabs do not march in step. */
export function waitMs(tries: number, random: () => number = Math.random): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries) * (0.75 + 0.5 * random());
}

/**
 * Opens a stream, and opens it again after the last id that was seen (`?after=`, which is `Last-Event-ID` for
 * who opens anew) whenever it is cut. The waits are ours, because a browser's own retries neither grow nor
 * spread. When the network comes back it is tried at once.
 */
export function openLine(
  url: string,
  names: readonly string[],
  after: string | null,
  onEvent: (name: string, id: string, data: unknown) => void,
  onState: (state: LineState) => void,
): Line {
  let last = after;
  let tries = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let source: EventSource;
  let closed = false;

  const open = () => {
    const from = last ? `${url.includes("?") ? "&" : "?"}after=${encodeURIComponent(last)}` : "";
    source = new EventSource(url + from);
    source.onopen = () => {
      tries = 0;
      onState("open");
    };
    source.onerror = () => {
      if (closed) return;
      source.close();
      onState("waiting");
      clearTimeout(timer);
      timer = setTimeout(open, waitMs(tries++));
    };
    for (const name of names) {
      source.addEventListener(name, (event) => {
        const message = event as MessageEvent<string>;
        if (message.lastEventId) last = message.lastEventId;
        onEvent(name, message.lastEventId, JSON.parse(message.data));
      });
    }
  };
  const atOnce = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    clearTimeout(timer);
    open();
  };
  open();
  addEventListener("online", atOnce);
  return {
    close() {
      closed = true;
      removeEventListener("online", atOnce);
      clearTimeout(timer);
      source.close();
    },
  };
}
