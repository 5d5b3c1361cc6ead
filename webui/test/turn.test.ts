/** The turn reducer: every order of events, replays, duplicates. */
import { describe, expect, it } from "vitest";
import type { TurnEvent } from "../src/events";
import { EMPTY_TURN, isAfter, type LiveTurn, reduceTurn } from "../src/turn";

const start = (id: string, side: "a" | "b"): TurnEvent => ({ type: "answer.start", answer_id: id, side });
const delta = (id: string, text: string): TurnEvent => ({ type: "answer.delta", answer_id: id, text });
const end = (id: string, state: "finished" | "stopped" | "failed" = "finished"): TurnEvent => ({
  type: "answer.end",
  answer_id: id,
  state,
  finish_reason: "stop",
  error: null,
});

const DUEL: TurnEvent[] = [
  start("x", "a"),
  start("y", "b"),
  delta("x", "Blue "),
  delta("y", "Red "),
  delta("x", "light"),
  end("x"),
  delta("y", "light"),
  end("y"),
  { type: "duel.ready", duel_id: "d" },
  { type: "turn.end" },
];
const log = DUEL.map((event, index): [string, TurnEvent] => [`1000-${index}`, event]);
const play = (entries: [string, TurnEvent][], from: LiveTurn = EMPTY_TURN) =>
  entries.reduce((turn, [id, event]) => reduceTurn(turn, id, event), from);

describe("reduceTurn", () => {
  it("builds both texts, then ready, then ended", () => {
    const turn = play(log);
    expect(turn.answers.x).toMatchObject({ text: "Blue light", state: "finished" });
    expect(turn.answers.y).toMatchObject({ text: "Red light", state: "finished" });
    expect(turn.ready).toBe(true);
    expect(turn.ended).toBe(true);
  });

  it("is not ready before duel.ready", () => {
    expect(play(log.slice(0, 8)).ready).toBe(false);
  });

  it("gives the same turn wherever the line is cut and however much is sent again", () => {
    const whole = play(log);
    for (let cut = 0; cut <= log.length; cut++)
      for (let again = 0; again <= cut; again++)
        expect(play(log.slice(again), play(log.slice(0, cut)))).toEqual(whole);
  });

  it("takes each event once even if each comes twice", () => {
    expect(play(log.flatMap((entry) => [entry, entry]))).toEqual(play(log));
  });

  it("interleaves the sides in any order that keeps each side's own", () => {
    const x = [start("x", "a"), delta("x", "Blue "), delta("x", "light"), end("x")];
    const y = [start("y", "b"), delta("y", "Red "), delta("y", "light"), end("y")];
    const orders = (left: TurnEvent[], right: TurnEvent[]): TurnEvent[][] => {
      if (!left.length || !right.length) return [[...left, ...right]];
      const [l, ...ls] = left as [TurnEvent, ...TurnEvent[]];
      const [r, ...rs] = right as [TurnEvent, ...TurnEvent[]];
      return [
        ...orders(ls, right).map((rest) => [l, ...rest]),
        ...orders(left, rs).map((rest) => [r, ...rest]),
      ];
    };
    const all = orders(x, y);
    expect(all).toHaveLength(70); // 8! / (4! 4!)
    for (const order of all) {
      const turn = play(order.map((event, index) => [`7-${index}`, event]));
      expect([turn.answers.x?.text, turn.answers.y?.text]).toEqual(["Blue light", "Red light"]);
    }
  });

  it("takes a delta whose start was trimmed away", () => {
    expect(reduceTurn(EMPTY_TURN, "5-0", delta("x", "Hi")).answers.x?.text).toBe("Hi");
  });

  it("lets no text grow after the end", () => {
    const turn = play([
      ["1-0", delta("x", "Hi")],
      ["1-1", end("x", "stopped")],
      ["1-2", delta("x", "!")],
    ]);
    expect(turn.answers.x).toMatchObject({ text: "Hi", state: "stopped" });
  });

  it("passes over an event that it does not know", () => {
    const turn = reduceTurn(EMPTY_TURN, "1-0", { type: "answer.score" } as unknown as TurnEvent);
    expect(turn).toEqual({ ...EMPTY_TURN, last: "1-0" });
  });
});

describe("isAfter", () => {
  it("compares as numbers, time first", () => {
    expect(isAfter("10-0", "9-5")).toBe(true);
    expect(isAfter("9-10", "9-9")).toBe(true);
    expect(isAfter("9-9", "9-9")).toBe(false);
    expect(isAfter("9-2", "9-10")).toBe(false);
  });
});
