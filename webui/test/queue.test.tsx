/** The queue and My votes against a scripted server: one task after the other, and the way back. */
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import type { MyQueue, MyVote } from "../src/api";
import { parts } from "../src/views/queue/parts";
import { isAccessible, open, serverOfEachTest } from "./page";
import { later } from "./server";

const AT = "2026-11-20T14:05:00Z";
const server = serverOfEachTest();

const state = (task: MyQueue["task"], done = 0): MyQueue => ({
  task,
  done,
  left: task ? 1 : 0,
  seconds: done ? 9 : null,
  all_wanted: 10,
  all_done: 4 + done,
});
const guidelines = (read_version: number) => ({
  newest: { version: 2, text: "Prefer what is **true**.", by: "acc_1", at: AT },
  read_version,
  read: null,
});

function counted(choice: string) {
  const vote: Partial<MyVote> = { ...made({ choice: choice as MyVote["choice"] }), id: "vote_1" };
  return { vote, pending: 3, min_votes: 50, reveal: { version_a: 1, version_b: 2 } };
}

function made(more: Partial<MyVote>): MyVote {
  const about = (n: number) => ({
    answer_id: `ans_${n}`,
    version: n,
    position: n,
    rank: null,
    tokens: 4,
    leak: null,
  });
  return {
    id: "vote_1", kind: "duel", conversation_id: "conv_1", duel_id: "duel_1", answer_id: null, choice: "a", strength: 1,
    answers: [about(1), about(2)], tags: [], comment: null, blind: true, early: false, guideline_version: 2, status: "active",
    exclusion: null, flags: [], created_at: AT, changed_at: null, changeable: true, prompt: "Why is the sky blue?", texts: ["One", "Two"], ...more,
  }; // biome-ignore format: a fixture
}

/** A server with one task that is ready; the vote on it leaves nothing more to judge. */
function oneTask() {
  const detail = server.current.duel({ ready: true });
  const duel_id = detail.duels[0]?.id ?? "";
  const task = { conversation_id: "conv_1", duel_id, expires_at: AT };
  let judged = false;
  server.current
    .on("GET /api/v1/guidelines", () => guidelines(1))
    .on("POST /api/v1/queue/next", () => state(judged ? null : task, judged ? 1 : 0))
    .on("POST /api/v1/votes", () => {
      judged = true;
      return counted("b");
    })
    .on("DELETE /api/v1/votes/vote_1", () => {
      judged = false;
      return counted("b");
    });
  return { duel_id };
}

describe("queue", () => {
  it("shows a task beside the guidelines, takes the verdict by a key and goes on; undo brings it back", async () => {
    const { duel_id } = oneTask();
    open("/queue");
    await screen.findByText("The a text");
    expect(screen.getByText("4 of 10 verdicts")).toBeTruthy();
    const aside = screen.getByRole("complementary", { name: "Guidelines for voting" });
    expect(within(aside).getByText("true").tagName).toBe("STRONG");
    await isAccessible();
    await userEvent.keyboard("{Shift>}2{/Shift}");
    await screen.findByText("You have judged all there is");
    const [vote] = server.current.bodies("POST /api/v1/votes") as [Record<string, unknown>];
    expect(vote).toMatchObject({ kind: "duel", duel_id, choice: "b", strength: 2 });
    expect(screen.getByText("Saved: Answer 2 is much better.")).toBeTruthy();
    await isAccessible();
    await userEvent.keyboard("z");
    await screen.findByText("The a text");
    expect(server.current.calls).toContain("DELETE /api/v1/votes/vote_1");
  });

  it("says that the guidelines have changed until they are read", async () => {
    oneTask();
    open("/queue");
    const aside = await screen.findByRole("complementary", { name: "Guidelines for voting" });
    await within(aside).findByText(/Changed/);
    server.current
      .on("POST /api/v1/guidelines/read", () => ({}))
      .on("GET /api/v1/guidelines", () => guidelines(2));
    await userEvent.click(within(aside).getByRole("button", { name: "I have read this" }));
    await waitFor(() => expect(within(aside).queryByText(/Changed/)).toBeNull());
    expect(server.current.bodies("POST /api/v1/guidelines/read")).toEqual([{ version: 2 }]);
  });

  it("gives a task back, and says when nothing waits", async () => {
    oneTask();
    open("/queue");
    await screen.findByText("The a text");
    server.current
      .on("POST /api/v1/queue/release", () => ({}))
      .on("POST /api/v1/queue/next", () => ({ ...state(null), left: 2 }));
    await userEvent.click(screen.getByRole("button", { name: "Give this one back" }));
    await screen.findByText("Nothing waits for you");
    expect(screen.getByText(/^Others have 2 items/)).toBeTruthy();
    expect(server.current.calls).toContain("POST /api/v1/queue/release");
  });

  it("offers nothing of the chat that has no place in a task", async () => {
    oneTask();
    server.current.role = "annotator";
    open("/queue");
    await screen.findByText("The a text");
    const main = screen.getByRole("main");
    expect(within(main).queryByRole("button", { name: /Manage/ })).toBeNull();
    expect(within(main).queryByRole("button", { name: /edit/i })).toBeNull();
    expect(within(main).queryByRole("textbox")).toBeNull();
  });

  it("lets an admin add a file and names the line that is wrong", async () => {
    oneTask();
    const item = {
      id: "item_1", prompt: "Name a river.", turns: 1, has_answers: true, gold: "b", overlap: 2, verdicts: 0, source: "upload", asked: null, created_at: AT,
    }; // biome-ignore format: a fixture
    const chosen = { how: "uncertain", probability: 1, uncertainty: 0.4, run_id: "run_1" };
    const asked = {
      ...item,
      id: "item_2",
      prompt: "Name a lake.",
      gold: null,
      source: "asked",
      asked: chosen,
    };
    const annotator = {
      annotator_id: "acc_1", name: "Ada", verdicts: 4, gold_right: 1, gold: 2, repeats_same: 0, repeats: 0, seconds: 8.25,
    }; // biome-ignore format: a fixture
    server.current
      .on("GET /api/v1/queue/items", () => ({
        items: [item, asked],
        wanted: 10,
        done: 4,
        annotators: [annotator],
      }))
      .on("POST /api/v1/queue/items", () => [422, "bad_items"])
      .on("DELETE /api/v1/queue/items/item_1", () => ({}));
    open("/queue");
    await userEvent.click(await screen.findByRole("button", { name: "Manage" }));
    const row = await screen.findByRole("row", { name: /Ada/ });
    expect(
      within(row)
        .getAllByRole("cell")
        .map((cell) => cell.textContent),
    ).toEqual(["4", "1 / 2", "–", "8.25"]);
    expect(screen.getAllByText(/^asked/).map((chip) => chip.textContent)).toEqual(["asked as unsure"]);
    await isAccessible();
    await userEvent.click(screen.getByRole("textbox", { name: "or paste lines here" }));
    await userEvent.paste('{"prompt": "x"}\n{"nothing": 1}');
    await userEvent.click(screen.getByRole("button", { name: "Add to the queue" }));
    await screen.findByRole("alert");
    expect(server.current.bodies("POST /api/v1/queue/items")).toEqual([
      { jsonl: '{"prompt": "x"}\n{"nothing": 1}', first_line: 1, overlap: 2 },
    ]);
    server.current.on("PUT /api/v1/guidelines", () => ({}));
    await userEvent.type(screen.getByRole("textbox", { name: "Guidelines for voting" }), " And short.");
    await userEvent.click(screen.getByRole("button", { name: "Save as version 3" }));
    expect(server.current.bodies("PUT /api/v1/guidelines")).toEqual([
      { text: "Prefer what is **true**. And short.", after: 2 },
    ]);
    await userEvent.click(screen.getByRole("button", { name: 'Remove "Name a river."' }));
    expect(server.current.calls).toContain("DELETE /api/v1/queue/items/item_1");
  });
});

describe("parts of a file", () => {
  it("keep every line in order and say where each begins", () => {
    const lines = Array.from({ length: 50 }, (_, index) => `{"prompt": "${"日".repeat(index)}"}`);
    const found = parts(lines.join("\n"), 900);
    expect(found.length).toBeGreaterThan(3);
    expect(found.flatMap((part) => part.jsonl.split("\n"))).toEqual(lines);
    for (const part of found) {
      expect(lines[part.first_line - 1]).toBe(part.jsonl.split("\n")[0]);
      expect(new TextEncoder().encode(JSON.stringify(part.jsonl)).length).toBeLessThan(1100);
    }
    expect(parts("")).toEqual([]);
    expect(parts("\n \n")).toEqual([]);
  });
});

describe("my votes", () => {
  const page = (items: MyVote[], next: string | null = null) => ({ items, next, this_week: 37 });

  it("say what each was about and what became of it", async () => {
    const leaking = made({
      id: "vote_2",
      choice: "b",
      status: "excluded",
      changeable: false,
      prompt: "Who are you?",
    });
    if (leaking.answers[0]) leaking.answers[0].leak = "I am SmolLM2";
    const gone = made({
      id: "vote_3",
      choice: "both_bad",
      changeable: false,
      prompt: null,
      texts: [null, null],
    });
    server.current.on("GET /api/v1/votes/mine?", () =>
      page([made({ strength: 2, tags: ["clear"] }), leaking, gone]),
    );
    open("/mine");
    const [first, second, third] = await screen.findAllByTestId("my-vote");
    if (!first || !second || !third) throw new Error("three votes");
    expect(screen.getByText("37 in the last seven days")).toBeTruthy();
    expect(within(first).getByText("Answer 1 is much better")).toBeTruthy();
    expect(within(first).getByText("v1 over v2")).toBeTruthy();
    expect(within(second).getByText("Not used: an answer named its model")).toBeTruthy();
    expect(within(second).queryByRole("button", { name: /Undo/ })).toBeNull();
    expect(within(third).getByText("This chat was deleted")).toBeTruthy();
    await userEvent.click(within(first).getByRole("button", { name: "Details" }));
    expect(within(first).getByText("Cast under version 2 of the guidelines")).toBeTruthy();
    await isAccessible();
  });

  it("are undone, changed and commented on, and read anew after that", async () => {
    let vote = made({});
    server.current
      .on("GET /api/v1/votes/mine?", () => page([vote]))
      .on("PATCH /api/v1/votes/vote_1", () => {
        vote = { ...vote, choice: "tie" };
        return counted("tie");
      })
      .on("DELETE /api/v1/votes/vote_1", () => {
        vote = { ...vote, status: "undone", changeable: false };
        return counted("tie");
      });
    open("/mine");
    const row = await screen.findByTestId("my-vote");
    await userEvent.click(within(row).getByRole("button", { name: "Details" }));
    await userEvent.selectOptions(within(row).getByLabelText("Choice"), "tie");
    await waitFor(() => expect(within(row).getAllByText("Tie")[0]?.tagName).toBe("SPAN"));
    await userEvent.type(within(row).getByRole("textbox"), "too long");
    await userEvent.click(within(row).getByRole("button", { name: "Save" }));
    expect(server.current.bodies("PATCH /api/v1/votes/vote_1")).toEqual([
      { choice: "tie" },
      { comment: "too long" },
    ]);
    await userEvent.click(within(row).getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(row.dataset.status).toBe("undone"));
    expect(within(row).queryByRole("button", { name: "Undo" })).toBeNull();
  });

  it("come page by page and by kind, and say so when there are none", async () => {
    server.current
      .on("GET /api/v1/votes/mine?", () => page([made({})], "vote_1"))
      .on("GET /api/v1/votes/mine?before=vote_1", () => page([made({ id: "vote_0", choice: "tie" })]))
      .on("GET /api/v1/votes/mine?kind=thumb", () => page([]));
    open("/mine");
    await userEvent.click(await screen.findByRole("button", { name: "Show more" }));
    await waitFor(() => expect(screen.getAllByTestId("my-vote").length).toBe(2));
    expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
    await userEvent.selectOptions(screen.getByLabelText("Kind"), "thumb");
    await screen.findByText("No vote is like that");
    await later(0);
    await isAccessible();
  });
});
