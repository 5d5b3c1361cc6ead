/** The vote explorer and the leaderboard against a scripted server. */

import { act, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import { switchKeys } from "../src/keys";
import type { VoteRow } from "../src/views/votes/calls";
import { diff } from "../src/views/votes/diff";
import { has, term, tidy, toggled, valueIn, withValue } from "../src/views/votes/query";
import { isAccessible, open, serverOfEachTest } from "./page";
import type { ScriptedServer } from "./server";

const AT = "2026-01-01T00:00:00Z";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin(); // the strip above every page
});
const vote = (n: number, more: Partial<VoteRow> = {}): VoteRow => ({
  id: `vote_${n}`, at: AT, annotator: "ann", conversation_id: "conv_1", kind: "duel", outcome: "a", strength: 1, prompt: `Question ${n}`,
  versions: [2, 1], margin: 0.5, reward_model: "agree", shown_ms: 4000, tags: [], comment: null, status: "active", reason: null, flags: ["blind"],
  script: "latin", guideline_version: 1, used_in: [2], review: null, ...more,
}); // biome-ignore format: a fixture

const page = (items: VoteRow[]) => ({
  items, next: null, total: items.length, of: 9,
  facets: { outcome: [{ value: "a", votes: 2 }, { value: "tie", votes: 1 }], annotator: [{ value: "ann", votes: 3 }] },
  histogram: [{ start: AT, end: "2026-01-02T00:00:00Z", votes: 3 }],
}); // biome-ignore format: a fixture

const detail = (row: VoteRow) => ({
  row,
  thread: [{ role: "user", content: "Which river?" }],
  answers: ["The Nile is long", "The Rhine is long"].map((text, index) => ({
    id: `ans_${index}`, position: index + 1, version: 2 - index, text, tokens: 4, finish_reason: "stop", leak: null, rank: null,
    preferred: index === 0,
  })), // biome-ignore format: a fixture
  changes: [{ what: "cast", by: "ann", at: AT, outcome: "a", status: "active", reason: null }],
  others: [],
  used_in: [{ number: 2, state: "active", run_id: "run_1" }],
  reviews: [],
});

/** A server with three votes, whatever is searched. */
function votes() {
  const rows = [vote(1), vote(2, { outcome: "tie" }), vote(3, { annotator: "bob" })];
  for (const query of [
    "q=",
    "q=outcome%3Atie",
    "q=outcome%3Atie+annotator%3Aann",
    "q=rm%3Adisagree+margin%3A%3E1",
  ])
    server.on(`GET /api/v1/votes?${query}`, () => page(rows));
  for (const row of rows) server.on(`GET /api/v1/votes/${row.id}`, () => detail(row));
  return rows;
}

describe("the query as text", () => {
  it("takes a term in and out again", () => {
    expect(toggled("river", "outcome", "tie")).toBe("river outcome:tie");
    expect(toggled("river outcome:tie", "outcome", "tie")).toBe("river");
    expect(toggled("", "tag", "too long")).toBe('tag:"too long"');
    expect(has('tag:"too long" x', "tag", "too long")).toBe(true);
    expect(has("outcome:tiebreak", "outcome", "tie")).toBe(false);
  });
  it("sets and drops a key's one value", () => {
    expect(withValue("before:2026-01-01 x", "before", "2026-02-02")).toBe("x before:2026-02-02");
    expect(withValue("before:2026-01-01 x", "before", "")).toBe("x");
    expect(valueIn("a before:2026-01-01", "before")).toBe("2026-01-01");
    expect(tidy('  a   tag:"b c" ')).toBe('a tag:"b c"');
    expect(term("a", "b")).toBe("a:b");
  });
});

describe("differences", () => {
  const marked = (pieces: { text: string; same: boolean }[]) =>
    pieces.map((one) => (one.same ? one.text : `[${one.text}]`)).join("");
  it("marks what is on one side only", () => {
    const [a, b] = diff("The Nile is long", "The Rhine is very long");
    expect(marked(a)).toBe("The [Nile] is long");
    expect(marked(b)).toBe("The [Rhine] is [very ]long");
  });
  it("keeps every letter, and whole changed passages in one piece", () => {
    const [a, b] = diff("one two three", "four five three");
    expect(marked(a)).toBe("[one two] three");
    expect(b.map((one) => one.text).join("")).toBe("four five three");
    expect(diff("", "x")).toEqual([[], [{ text: "x", same: false }]]);
  });
  it("does not freeze on long answers", () => {
    const long = Array.from({ length: 5000 }, (_, n) => `word${n}\n`).join("");
    const began = performance.now();
    diff(long, `${long}end`);
    expect(performance.now() - began).toBeLessThan(5000);
  });
});

describe("the explorer", () => {
  it("shows the votes with their facets, and a click on one narrows the search in the address", async () => {
    votes();
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    expect(screen.getByText("3 of 9 votes")).toBeTruthy();
    await isAccessible();
    await userEvent.click(screen.getByRole("button", { name: /^Tie/ }));
    await waitFor(() => expect(new URLSearchParams(location.search).get("q")).toBe("outcome:tie"));
    expect(server.calls).toContain("GET /api/v1/votes?q=outcome%3Atie");
    await waitFor(() =>
      expect(screen.getByRole("button", { name: /^Tie/ }).getAttribute("aria-pressed")).toBe("true"),
    );
  });

  it("is walked by keyboard: move, open, mark differences, close", async () => {
    votes();
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.keyboard("j{Enter}");
    await screen.findByText("Which river?");
    expect(new URLSearchParams(location.search).get("vote")).toBe("vote_2");
    await userEvent.keyboard("d");
    await waitFor(() => expect(document.querySelectorAll("mark")).toHaveLength(2));
    await isAccessible();
    await userEvent.keyboard("{Escape}");
    await waitFor(() => expect(screen.queryByText("Which river?")).toBeNull());
  });

  it("keeps the focus in sight: Escape leads from the search and from a vote to the list", async () => {
    votes();
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    const [list, field] = [screen.getByRole("grid"), screen.getByRole<HTMLInputElement>("searchbox")];
    await userEvent.keyboard("/outcome:tie{Enter}");
    await waitFor(() => expect(new URLSearchParams(location.search).get("q")).toBe("outcome:tie"));
    expect(document.activeElement).toBe(field);
    await userEvent.keyboard(" annotator:x{Escape}");
    expect([document.activeElement, field.value]).toEqual([list, "outcome:tie"]);
    await userEvent.keyboard("j{Enter}o");
    const vote = await screen.findByRole("region", { name: "Vote" });
    await waitFor(() => expect(document.activeElement).toBe(vote));
    await userEvent.keyboard("{Escape}");
    await waitFor(() => expect(document.activeElement).toBe(list));
    await userEvent.click(screen.getByRole("button", { name: "Clear the search" }));
    expect(document.activeElement).toBe(field);
  });

  it("excludes the selected votes after saying what that means", async () => {
    votes();
    server.on("POST /api/v1/exclusions", () => ({
      votes: 2, annotators: ["ann", "bob"], used_in: [2], left: 0, done: false,
      ratings: [{ number: 3, before: 1043.2, after: 1031.4, n_before: 120, n_after: 118 }],
    })); // biome-ignore format: a fixture
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.keyboard("xjjxe");
    const dialog = await screen.findByRole("dialog", { name: "Exclude from training" });
    await within(dialog).findByText(/2 votes of 2 annotators will change. Already trained into v2/);
    const effect = within(dialog).getByRole("table", { name: "Ratings if you go on" });
    expect(effect.textContent).toContain("v310431031120 → 118");
    await isAccessible();
    await userEvent.selectOptions(within(dialog).getByLabelText("Reason"), "Spam");
    await userEvent.type(within(dialog).getByLabelText(/^Note/), "a bot");
    await userEvent.click(within(dialog).getByRole("button", { name: "Exclude 2 votes" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.bodies("POST /api/v1/exclusions").at(-1)).toEqual({
      ids: ["vote_1", "vote_3"], reason: "spam", note: "a bot", dry_run: false,
    }); // biome-ignore format: a fixture
  });

  it("asks others by key, and blurs texts until they are pointed at", async () => {
    votes();
    server.on("POST /api/v1/votes/vote_2/queue", () => ({}));
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.keyboard("jr");
    await screen.findByText("It is in the judging queue: others judge it blind.");
    expect(server.calls).toContain("POST /api/v1/votes/vote_2/queue");
    expect(document.querySelector('[data-blurred="true"]')).toBeNull();
    await userEvent.keyboard("b");
    expect(document.querySelector('[data-blurred="true"]')).not.toBeNull();
    screen.getByRole("button", { name: "Blur texts", pressed: true });
    expect(localStorage.getItem("heed.blur")).toBe("yes");
    await isAccessible();
  });

  it("takes the reviewer's verdict by the keys of the vote", async () => {
    votes();
    server.on("POST /api/v1/votes/vote_1/reviews", () => ({}));
    open("/votes?vote=vote_1");
    await screen.findByText("Which river?");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.keyboard("2");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/votes/vote_1/reviews")).toEqual([{ choice: "b" }]),
    );
  });

  it("searches votes by the slash, which elsewhere opens the palette, and leaves letters alone when they are off", async () => {
    votes();
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.keyboard("{Control>}k{/Control}");
    await userEvent.click(await screen.findByRole("option", { name: /^Votes/ })); // now it is there at once
    await userEvent.keyboard("/");
    expect(document.activeElement).toBe(screen.getByRole("searchbox"));
    expect(screen.queryByRole("dialog")).toBeNull();
    await userEvent.keyboard("{Escape}x");
    await screen.findByText("1 vote selected");
    act(() => switchKeys(true));
    await userEvent.keyboard("x{ArrowDown}");
    screen.getByText("1 vote selected");
    expect(screen.getByRole("row", { name: /Question 2/ }).dataset.active).toBe("true");
  });

  it("exports exactly what the search finds", async () => {
    votes();
    open("/votes?q=outcome:tie");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.click(screen.getByRole("button", { name: "Export" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.click(within(dialog).getByLabelText(/Unpaired/));
    const link = within(dialog).getByRole("link", { name: "Download" });
    expect(link.getAttribute("href")).toBe("/api/v1/exports?format=unpaired&files=jsonl&q=outcome%3Atie");
    await userEvent.click(within(dialog).getByLabelText("Parquet"));
    expect(link.getAttribute("href")).toBe("/api/v1/exports?format=unpaired&files=parquet&q=outcome%3Atie");
    await isAccessible();
  });

  it("reads a file before it imports it", async () => {
    votes();
    server.on("GET /api/v1/imports", () => ({ items: [] }));
    const report = {
      pairs: 1, shapes: { preference: 1 }, refused: 1, duplicates: 0, kept: null,
      problems: [{ line: 2, field: "rejected", message: "is the same text as chosen" }],
      preview: [{ prompt: [{ role: "user", content: "Q" }], chosen: [{ role: "assistant", content: "Good" }], rejected: [{ role: "assistant", content: "Bad" }] }],
    }; // biome-ignore format: a fixture
    const path = (dry: boolean) => `POST /api/v1/imports?name=my+pairs.jsonl&tag=my+pairs&dry_run=${dry}`;
    server.on(path(true), () => report);
    server.on(path(false), () => ({ ...report, kept: { id: "import_1" } }));
    open("/votes");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.click(screen.getByRole("button", { name: "Import" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.upload(within(dialog).getByLabelText(/^File/), new File(["{}"], "my pairs.jsonl"));
    await within(dialog).findByText(/1 row can be imported, 1 cannot/);
    await within(dialog).findByText("Line 2: rejected is the same text as chosen");
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Import 1 row" }));
    await within(dialog).findByText(/1 row imported/);
  });

  it("keeps a search under a name", async () => {
    votes();
    open("/votes?q=outcome:tie");
    await screen.findByRole("row", { name: /Question 1/ });
    await userEvent.click(screen.getByRole("button", { name: "Save this search" }));
    await userEvent.type(await screen.findByLabelText("Name"), "Ties{Enter}");
    const views = screen.getByLabelText<HTMLSelectElement>("Saved views");
    await waitFor(() => expect(views.value).toBe("outcome:tie"));
    await userEvent.selectOptions(views, "Reward model sure but wrong");
    await waitFor(() => expect(new URLSearchParams(location.search).get("q")).toBe("rm:disagree margin:>1"));
  });

  it("says what to do where there is nothing, and what is wrong with a query", async () => {
    server.on("GET /api/v1/votes?q=", () => ({ ...page([]), of: 0 }));
    server.on("GET /api/v1/votes?q=colour%3Ared", () => [422, "bad_query"]);
    open("/votes");
    await screen.findByText("No vote yet");
    await isAccessible();
    await userEvent.type(screen.getByRole("searchbox"), "colour:red{Enter}");
    await screen.findByRole("alert");
  });
});

describe("the leaderboard", () => {
  const rating = (number: number, value: number | null, n: number) => ({
    number, rating: value, low: value && value - 20, high: value && value + 25, n, best_rank: value && 1, worst_rank: value && 2,
  }); // biome-ignore format: a fixture
  const board = (style: boolean) => ({
    versions: [rating(2, 1080, 40), rating(1, 1000, 44), rating(3, null, 4)],
    style: style ? [{ element: "length", effect: 30, low: 20, high: 40 }] : [],
    pairs: [{ a: 2, b: 1, wins_a: 24, ties: 4, wins_b: 12, both_bad: 3, rate: 0.65, low: 0.51, high: 0.78, n: 40, annotators: 9, interval: "annotators" }],
    counted: 44,
    left_out: { undone: 0, excluded: 2, checks: 0, leaked: 5, open: 0, deleted: 0, skipped: 0 },
  }); // biome-ignore format: a fixture

  it("shows every rating with its interval and n, and what was left out", async () => {
    server.on("GET /api/v1/leaderboard?style=false", () => board(false));
    server.on("GET /api/v1/leaderboard?style=true", () => board(true));
    open("/leaderboard");
    const row = await screen.findByTestId("rating-2");
    expect(row.textContent).toContain("1–2");
    expect(row.textContent).toContain("1060 – 1105");
    expect(screen.getByTestId("rating-3").textContent).toContain("No rating yet");
    expect(screen.getByText("5 leaked a name, left out")).toBeTruthy();
    expect(screen.getByText("65%")).toBeTruthy();
    expect(screen.getByText("35%")).toBeTruthy();
    expect(screen.getAllByText("n 40, 9 people")).toHaveLength(2);
    await isAccessible();
    await userEvent.click(screen.getByLabelText("Style control"));
    await screen.findByText("What style was worth");
    await userEvent.selectOptions(screen.getByLabelText("At least this many votes"), "30");
    expect(screen.queryByTestId("rating-3")).toBeNull();
    expect(screen.getByText("1 version with fewer votes not shown")).toBeTruthy();
  });
});
