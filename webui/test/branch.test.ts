/** The shown branch of a conversation's tree. */
import { describe, expect, it } from "vitest";
import type { Answer, Detail, Duel, Message } from "../src/api";
import { leafBelow, rankable, shownTurns } from "../src/branch";

let clock = 0;
const at = () => new Date(1_700_000_000_000 + ++clock * 1000).toISOString();
const message = (id: string, parent_id: string | null): Message => ({
  id,
  parent_id,
  text: id,
  created_at: at(),
});
const answer = (id: string, parent_id: string, duel_id: string | null = null, side: "a" | "b" | null = null): Answer => ({
  id, parent_id, duel_id, side, state: "finished", text: id, finish_reason: "stop", error: null, created_at: at(),
  policy_version: null, stream: null, thumb: null, edited_from: null, withdrawn: false,
}); // biome-ignore format: a fixture
const said = (choice: "a" | "b" | "tie") => ({
  id: "v",
  choice,
  strength: 1 as const,
  tags: [],
  comment: null,
  early: false,
  leak: null,
});
const duel = (id: string, parent_id: string, choice: "a" | "b" | "tie" | null): Duel => ({
  id, parent_id, answer_a: `${id}a`, answer_b: `${id}b`, ready: true, reason: null, vote: choice && said(choice), version_a: null, version_b: null,
}); // biome-ignore format: a fixture
const detail = (leaf_id: string | null, messages: Message[], answers: Answer[], duels: Duel[] = []): Detail => ({
  conversation: { id: "c", title: "", system_prompt: null, leaf_id, created_at: at(), updated_at: at() },
  messages, answers, duels,
}); // biome-ignore format: a fixture
const sides = (id: string, parent: string) => [
  answer(`${id}a`, parent, id, "a"),
  answer(`${id}b`, parent, id, "b"),
];

describe("shownTurns", () => {
  it("has no turns for an empty conversation", () => {
    expect(shownTurns(detail(null, [], []))).toEqual([]);
  });

  it("shows a duel without a choice until its vote", () => {
    const [turn] = shownTurns(detail(null, [message("m", null)], sides("d", "m"), [duel("d", "m", null)]));
    expect(turn?.attempts[0]?.answers.map((one) => one.id)).toEqual(["da", "db"]);
    expect(turn?.chosen).toBeNull();
  });

  it("goes on from the winner even before the leaf has moved", () => {
    const [turn] = shownTurns(detail(null, [message("m", null)], sides("d", "m"), [duel("d", "m", "b")]));
    expect(turn?.chosen?.id).toBe("db");
  });

  it("goes on from the leaf after a tie", () => {
    const [turn] = shownTurns(detail("db", [message("m", null)], sides("d", "m"), [duel("d", "m", "tie")]));
    expect(turn?.chosen?.id).toBe("db");
  });

  it("follows a message below the leaf", () => {
    const turns = shownTurns(detail("x", [message("m", null), message("n", "x")], [answer("x", "m")]));
    expect(turns.map((one) => one.message.id)).toEqual(["m", "n"]);
    expect(turns[1]?.shown).toBe(-1);
  });

  it("shows the attempt on the branch, and the newest while it waits for its vote", () => {
    const tree = [message("m", null)];
    const first = answer("x", "m");
    const second = answer("y", "m");
    expect(shownTurns(detail("x", tree, [first, second]))[0]?.shown).toBe(0);
    const again = sides("d", "m");
    expect(shownTurns(detail("x", tree, [first, ...again], [duel("d", "m", null)]))[0]?.shown).toBe(1);
  });

  it("ends on a tree whose parents go round in a ring", () => {
    const ring = detail("x", [message("m", "x")], [answer("x", "m")]);
    expect(shownTurns(ring)).toEqual([]);
  });
});

describe("edits of a message", () => {
  const first = message("m", null);
  const edit = message("n", null);
  const tree = detail(
    "x",
    [first, edit, message("m2", "x")],
    [answer("x", "m"), answer("y", "n"), answer("z", "m2")],
  );

  it("are told with the one that is shown", () => {
    const [turn] = shownTurns(tree);
    expect(turn?.message.id).toBe("m");
    expect(turn?.edits.map((one) => one.id)).toEqual(["m", "n"]);
  });

  it("lead to the newest end below them", () => {
    expect(leafBelow(first, tree)).toBe("z");
    expect(leafBelow(edit, tree)).toBe("y");
  });

  it("lead to the message itself while its duel is not decided", () => {
    const open = detail(null, [first], sides("d", "m"), [duel("d", "m", null)]);
    expect(leafBelow(first, open)).toBe("m");
    const decided = detail(null, [first], sides("d", "m"), [duel("d", "m", "b")]);
    expect(leafBelow(first, decided)).toBe("db");
  });
});

describe("rankable", () => {
  it("takes every answer that has ended, and no side of an open duel", () => {
    const all = detail(
      null,
      [message("m", null)],
      [answer("x", "m"), ...sides("d", "m"), ...sides("e", "m")],
      [duel("d", "m", "a"), duel("e", "m", null)],
    );
    const [turn] = shownTurns(all);
    expect(turn && rankable(turn).map((one) => one.id)).toEqual(["x", "da", "db"]);
  });
});
