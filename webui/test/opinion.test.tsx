/** What the reward model thought: never asked for before the vote, then waited for, then said. */
import { act, screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { setLanguage } from "../src/texts";
import { waitMs } from "../src/views/opinion";
import { isAccessible, open, serverOfEachTest } from "./page";
import { FakeEventSource, type ScriptedServer } from "./server";

const OPINION = "GET /api/v1/votes/vote_1/opinion";
const WAITING = {
  state: "waiting",
  reward_model: null,
  answers: [],
  prefers: null,
  chance: null,
  learned_from: false,
};
const SCORED = {
  state: "scored",
  reward_model: 7,
  answers: [
    { answer_id: "ans_a", score: 1.304 },
    { answer_id: "ans_b", score: -0.2 },
  ],
  prefers: "a",
  chance: 0.8176,
  learned_from: false,
};

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
});

async function decided() {
  const detail = server.duel({ ready: true });
  server.decide(detail, "a");
  open("/c/conv_1");
  return await screen.findByTestId("opinion");
}

describe("the reward model's opinion", () => {
  it("is not asked for while the duel is open", async () => {
    server.duel({ ready: true });
    server.on(OPINION, () => SCORED);
    open("/c/conv_1");
    await screen.findByTestId("vote-bar");
    expect(server.calls.filter((call) => call.includes("opinion"))).toEqual([]);
    expect(screen.queryByText(/Reward model/)).toBeNull();
  });

  it("says that it waits", async () => {
    server.on(OPINION, () => WAITING);
    expect((await decided()).textContent).toBe("Reward model: not scored yet");
    await isAccessible();
  });

  it("says scores, what it would have chosen, and how sure it was; in Chinese too", async () => {
    server.on(OPINION, () => SCORED);
    const line = await decided();
    expect(line.textContent).toBe(
      "Reward model of v7 · Answer 1: 1.3, Answer 2: -0.2 · it would have chosen Answer 1 (81.8%)",
    );
    await act(() => setLanguage("zh"));
    expect(screen.getByTestId("opinion").textContent).toBe(
      "v7 的奖励模型 · 回答 1：1.3, 回答 2：-0.2 · 它会选择回答 1（81.8%）",
    );
  });

  it("says when it saw no difference, and when it had learned from the vote", async () => {
    server.on(OPINION, () => ({ ...SCORED, prefers: null, chance: null, learned_from: true }));
    expect((await decided()).textContent).toMatch(/ · it saw no difference · it had learned from this vote$/);
  });

  it("is silent where none will come", async () => {
    server.on(OPINION, () => ({ ...WAITING, state: "none" }));
    const detail = server.duel({ ready: true });
    server.decide(detail, "a");
    open("/c/conv_1");
    await waitFor(() => expect(server.calls).toContain(OPINION));
    expect(screen.queryByTestId("opinion")).toBeNull();
  });

  it("comes by the feed where somebody watches", async () => {
    server.admin();
    let opinion: unknown = WAITING;
    server.on(OPINION, () => opinion);
    const row = {
      id: "vote_1", at: "2026-01-01T00:00:00Z", annotator: "ann", conversation_id: "conv_1", kind: "duel", outcome: "a", strength: 1, prompt: "Q",
      versions: [7, 7], margin: null, reward_model: "unknown", shown_ms: null, tags: [], comment: null, status: "active", reason: null, flags: [],
      script: "latin", guideline_version: null, used_in: [], review: null,
    }; // biome-ignore format: a fixture
    server.on("GET /api/v1/votes?q=", () => ({
      items: [row],
      next: null,
      total: 1,
      of: 1,
      facets: {},
      histogram: [],
    }));
    server.on("GET /api/v1/votes/vote_1", () => ({
      row, thread: [], answers: [], changes: [], others: [], used_in: [], reviews: [],
    })); // biome-ignore format: a fixture
    open("/votes?vote=vote_1");
    const said = await screen.findByTestId("opinion");
    expect(said.textContent).toMatch(/not scored yet/);
    opinion = SCORED;
    const feed = FakeEventSource.all.find((one) => one.url.includes("/events"));
    act(() => feed?.say("opinions", { votes: ["vote_1"] }));
    await waitFor(() => expect(screen.getByTestId("opinion").textContent).toMatch(/of v7/));
  });

  it("is looked for often at first, then seldom", () => {
    expect([waitMs(1), waitMs(40)]).toEqual([6250, 120_000]);
  });
});
