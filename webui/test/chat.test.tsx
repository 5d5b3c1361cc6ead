/** What a person does in the chat beyond asking: branches, the vote and its undo, ranking, ideal answers, search. */
import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import type { Answer, Detail } from "../src/api";
import { setFollows } from "../src/views/chat/follow";
import { isAccessible, open, serverOfEachTest } from "./page";
import { FakeEventSource } from "./server";

const held = serverOfEachTest();
const VOTED = {
  vote: { id: "vote_1", answers: [], changeable: true },
  pending: 13,
  min_votes: 50,
  reveal: { version_a: 1, version_b: 2 },
};

const single = (id: string, parent_id: string, text: string, more: Partial<Answer> = {}): Answer => ({
  id,
  parent_id,
  duel_id: null,
  side: null,
  state: "finished",
  text,
  finish_reason: "stop",
  error: null,
  created_at: `2026-01-01T00:00:0${id.length}Z`,
  policy_version: 1,
  stream: null,
  thumb: null,
  edited_from: null,
  withdrawn: false,
  ...more,
});

/** A conversation with one message and these answers. */
function talk(answers: Answer[], leaf = answers[0]?.id ?? null): Detail {
  const detail = held.current.duel({ ready: true });
  detail.duels = [];
  detail.answers = answers;
  detail.conversation.leaf_id = leaf;
  return detail;
}

describe("a duel", () => {
  it("takes a much better, offers reasons, and is open again after an undo", async () => {
    const server = held.current;
    const detail = server.duel({ ready: true });
    const duel = detail.duels[0];
    server
      .on("POST /api/v1/votes", () => {
        server.decide(detail, "a");
        return VOTED;
      })
      .on("PATCH /api/v1/votes/vote_1", () => ({}))
      .on("DELETE /api/v1/votes/vote_1", () => {
        if (duel) duel.vote = null;
        detail.conversation.leaf_id = "msg_1";
        return {};
      });
    open("/c/conv_1");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await userEvent.keyboard("{Shift>}[Digit1]{/Shift}");
    await screen.findByText("Counted, 13 of 50 until the next training");
    expect(server.bodies("POST /api/v1/votes")).toMatchObject([{ choice: "a", strength: 2 }]);
    screen.getByText("Much better");
    await userEvent.click(screen.getByRole("button", { name: "Accurate" }));
    await userEvent.type(screen.getByRole("textbox", { name: "Say more" }), "it is short{Enter}");
    await waitFor(() =>
      expect(server.bodies("PATCH /api/v1/votes/vote_1").at(-1)).toEqual({
        tags: ["accurate"],
        comment: "it is short",
      }),
    );
    await isAccessible();
    await userEvent.click(document.body);
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("z");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await waitFor(() => expect(server.calls).toContain("DELETE /api/v1/votes/vote_1"));
    expect(screen.queryByText("Your choice")).toBeNull();
  });

  it("is skipped by key, and nothing is said to be counted", async () => {
    const server = held.current;
    const detail = server.duel({ ready: true });
    server.on("POST /api/v1/votes", () => {
      server.decide(detail, "skip");
      return VOTED;
    });
    open("/c/conv_1");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await userEvent.keyboard("s");
    await screen.findByText("Skipped, nothing is counted");
    expect(screen.queryByText(/^Counted/)).toBeNull();
  });

  it("says that an answer named its model", async () => {
    const server = held.current;
    const detail = server.duel({ ready: true });
    server.decide(detail, "a");
    const vote = detail.duels[0]?.vote;
    if (vote) vote.leak = "I am SmolLM2";
    open("/c/conv_1");
    await screen.findByText(/Not used for ranking: the answer named its model/);
  });

  it("can be decided before its end once both sides have said enough", async () => {
    const server = held.current;
    const detail = server.duel({ ready: false });
    server.on("POST /api/v1/votes", () => VOTED);
    open("/c/conv_1");
    await screen.findAllByRole("article");
    const source = FakeEventSource.last();
    const say = (answer_id: string, text: string) =>
      source.say("answer.delta", { type: "answer.delta", answer_id, text });
    say("ans_a", "word ".repeat(25));
    say("ans_b", "word ".repeat(10));
    const bar = await screen.findByTestId("vote-bar");
    await waitFor(() => expect(screen.getByTestId("answer-2").textContent).toContain("word"));
    expect(bar.dataset.open).toBe("false");
    say("ans_b", "word ".repeat(10));
    await waitFor(() => expect(bar.dataset.open).toBe("true"));
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("2");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/votes")).toMatchObject([
        { duel_id: detail.duels[0]?.id, choice: "b" },
      ]),
    );
  });

  it("marks what only one side says", async () => {
    const [a, b] = held.current.duel({ ready: true }).answers;
    if (a) a.text = "Both say this. Only one says that.";
    if (b) b.text = "Both say **this**!";
    open("/c/conv_1");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await userEvent.keyboard("d");
    const side = screen.getByRole("article", { name: "Answer 1" });
    expect(side.querySelector("mark")?.textContent).toBe("Only one says that.");
    await isAccessible();
  });
});

describe("branches", () => {
  it("says an edited message beside the first one", async () => {
    const server = held.current;
    talk([single("ans_a", "msg_1", "Because of the air.")]);
    server.on("POST /api/v1/conversations/conv_1/messages", () => [503, "engine_unavailable"]);
    open("/c/conv_1");
    await userEvent.click(await screen.findByRole("button", { name: "Edit the message" }));
    const field = screen.getByRole("textbox", { name: "Edit the message" });
    await isAccessible();
    await userEvent.clear(field);
    await userEvent.type(field, "Why is it grey?{Enter}");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/conversations/conv_1/messages")).toMatchObject([
        { text: "Why is it grey?", parent_id: null },
      ]),
    );
  });

  it("opens the last message on ArrowUp in an empty field", async () => {
    talk([single("ans_a", "msg_1", "Because of the air.")]);
    open("/c/conv_1");
    await screen.findByText("Because of the air.");
    await userEvent.type(screen.getByRole("textbox", { name: "Your message" }), "{ArrowUp}");
    await screen.findByRole("textbox", { name: "Edit the message" });
  });

  it("turns to another wording and to another attempt", async () => {
    const server = held.current;
    const detail = talk([
      single("a", "msg_1", "One"),
      single("aa", "msg_1", "Two"),
      single("b", "msg_0", "Old"),
    ]);
    detail.messages.unshift({
      id: "msg_0",
      parent_id: null,
      text: "Why blue?",
      created_at: "2025-01-01T00:00:00Z",
    });
    server.on("PATCH /api/v1/conversations/conv_1", () => detail.conversation);
    open("/c/conv_1");
    await userEvent.click(await screen.findByRole("button", { name: "Later attempt" }));
    await userEvent.click(screen.getByRole("button", { name: "Earlier wording" }));
    await waitFor(() =>
      expect(server.bodies("PATCH /api/v1/conversations/conv_1")).toEqual([
        { leaf_id: "aa" },
        { leaf_id: "b" },
      ]),
    );
  });

  it("says that a restarted server interrupted an answer, and offers to ask again", async () => {
    talk([single("a", "msg_1", "Because of", { state: "failed", error: "the server was restarted" })]);
    open("/c/conv_1");
    await screen.findByText(/What was said until then is kept/);
    screen.getByText("Because of");
    screen.getByRole("button", { name: "Try again" });
  });
});

describe("a message that no answer came to", () => {
  it("is in the composer again, and is answered again when it is sent as it was", async () => {
    const server = held.current;
    const detail = server.duel({ ready: false });
    const said = server.duel({ ready: true });
    server
      .on("GET /api/v1/conversations/conv_1", () => structuredClone(detail))
      .on("POST /api/v1/conversations/conv_1/answers", () => ({
        message: detail.messages[0],
        answers: said.answers,
        duel: said.duels[0],
        stream: "",
      }));
    open("/c/conv_1");
    await screen.findAllByRole("article");
    const field = screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Your message" });
    expect(field.value).toBe("");
    for (const answer of detail.answers)
      Object.assign(answer, { state: "failed", error: "it broke", stream: null });
    FakeEventSource.last().say("turn.end", { type: "turn.end" });
    await waitFor(() => expect(field.value).toBe("Why is the sky blue?"));
    await userEvent.type(field, "{Enter}");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/conversations/conv_1/answers")).toMatchObject([
        { parent_id: "msg_1" },
      ]),
    );
    expect(server.calls).not.toContain("POST /api/v1/conversations/conv_1/messages");
  });
});

describe("a message", () => {
  it("is put before the annotators", async () => {
    const server = held.current;
    talk([single("a", "msg_1", "One")]);
    server.on("POST /api/v1/queue/flags", () => ({}));
    open("/c/conv_1");
    await userEvent.click(await screen.findByRole("button", { name: "Ask others to judge this" }));
    const number = await screen.findByRole("spinbutton", { name: "How many annotators" });
    await isAccessible();
    await userEvent.clear(number);
    await userEvent.type(number, "3");
    await userEvent.click(screen.getByRole("button", { name: "Put into the queue" }));
    await screen.findByText("It is in the judging queue.");
    expect(server.bodies("POST /api/v1/queue/flags")).toEqual([
      { conversation_id: "conv_1", message_id: "msg_1", overlap: 3 },
    ]);
  });
});

describe("the view", () => {
  it("follows new text or stays where it is, by key and in every page", async () => {
    held.current.duel({ ready: true });
    const page = open("/c/conv_1");
    await screen.findByRole("button", { name: /Follow the text/, pressed: true });
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("f");
    await screen.findByText("The view stays where it is");
    screen.getByRole("button", { name: /Follow the text/, pressed: false });
    expect(localStorage.getItem("heed.follow")).toBe("no");
    page.unmount();
    setFollows(true);
  });
});

describe("siblings", () => {
  it("are ranked by digits alone, equal digits tie", async () => {
    const server = held.current;
    talk([single("a", "msg_1", "One"), single("aa", "msg_1", "Two"), single("aaa", "msg_1", "Three")]);
    server.on("POST /api/v1/votes", () => VOTED);
    open("/c/conv_1");
    await screen.findByText("One");
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("k");
    await screen.findByRole("heading", { name: "Rank the answers" });
    await isAccessible();
    await userEvent.keyboard("211");
    await screen.findByText("Best first: 2 = 3 > 1");
    await userEvent.keyboard("{Enter}");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/votes")).toMatchObject([
        { kind: "ranking", ranking: [["aa", "aaa"], ["a"]] },
      ]),
    );
  });

  it("may be an ideal answer, with what has changed beside it", async () => {
    const server = held.current;
    talk([single("a", "msg_1", "The sky is green.")]);
    server.on("POST /api/v1/votes", () => VOTED);
    open("/c/conv_1");
    await userEvent.click(await screen.findByRole("button", { name: "Write the ideal answer" }));
    const field = await screen.findByRole("textbox", { name: "The ideal answer" });
    await userEvent.clear(field);
    await userEvent.type(field, "The sky is blue.");
    await waitFor(() => expect(document.querySelector("ins")?.textContent).toBe("blue."));
    await isAccessible();
    await userEvent.click(screen.getByRole("button", { name: "Save as ideal" }));
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/votes")).toMatchObject([
        { kind: "edit", answer_id: "a", text: "The sky is blue." },
      ]),
    );
  });
});

describe("conversations", () => {
  it("are deleted at once and brought back by the toast", async () => {
    const server = held.current;
    talk([single("a", "msg_1", "One")]);
    server
      .on("DELETE /api/v1/conversations/conv_1", () => ({}))
      .on("POST /api/v1/conversations/conv_1/restore", () => ({}));
    open("/");
    await userEvent.click(await screen.findByRole("button", { name: "Actions for “Sky”" }));
    await isAccessible();
    await userEvent.click(screen.getByRole("menuitem", { name: "Delete" }));
    await screen.findByText("Deleted “Sky”");
    await userEvent.click(screen.getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(server.calls).toContain("POST /api/v1/conversations/conv_1/restore"));
  });

  it("are found by their words, by keys alone", async () => {
    const server = held.current;
    const { conversation } = talk([single("a", "msg_1", "One")]);
    const other = { ...conversation, id: "conv_2", title: "Grass" };
    server
      .on("GET /api/v1/search?q=air&skip=0", () => ({
        items: [{ conversation, excerpt: "of the air" }],
        next: 500,
        of: 700,
      }))
      // It was said in again meanwhile, and so came to the front.
      .on("GET /api/v1/search?q=air&skip=500", () => ({
        items: [conversation, other].map((one) => ({ conversation: one, excerpt: "of the air" })),
        next: null,
        of: 700,
      }));
    open("/");
    await screen.findByRole("heading", { name: "Ask something" });
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("/");
    await userEvent.type(await screen.findByRole("combobox", { name: "Search and commands" }), "air");
    await screen.findByText("2 conversations");
    expect(screen.getAllByText("of the air")).toHaveLength(2);
    await isAccessible();
    await userEvent.keyboard("{Enter}");
    await waitFor(() => expect(location.pathname).toBe("/c/conv_1"));
  });

  it("give way to any page that one may see, by keys alone", async () => {
    const server = held.current;
    server.role = "engineer";
    server.admin();
    talk([single("a", "msg_1", "One")]);
    open("/");
    await screen.findByRole("heading", { name: "Ask something" });
    await userEvent.keyboard("{Control>}k{/Control}");
    const field = await screen.findByRole("combobox", { name: "Search and commands" });
    await screen.findByRole("option", { name: "Versions" });
    expect(screen.queryByRole("option", { name: "People" })).toBeNull();
    server.on("GET /api/v1/search?q=vers&skip=0", () => ({ items: [], next: null, of: 1 }));
    await userEvent.type(field, "vers");
    await screen.findByText("No conversation says that");
    await userEvent.keyboard("{Enter}");
    await waitFor(() => expect(location.pathname).toBe("/versions"));
  });

  it("begin under the system prompt that was given", async () => {
    const server = held.current;
    talk([single("a", "msg_1", "One")]);
    server
      .on("POST /api/v1/conversations", () => ({ id: "conv_1" }))
      .on("POST /api/v1/conversations/conv_1/messages", () => [503, "engine_unavailable"]);
    open("/");
    await userEvent.click(await screen.findByRole("button", { name: "System prompt" }));
    await userEvent.type(await screen.findByRole("textbox", { name: "System prompt" }), "Be brief.");
    await isAccessible();
    await userEvent.click(screen.getByRole("button", { name: "Save" }));
    screen.getByRole("button", { name: "System: Be brief." });
    await userEvent.type(screen.getByRole("textbox", { name: "Your message" }), "Hi{Enter}");
    await waitFor(() =>
      expect(server.bodies("POST /api/v1/conversations")).toEqual([{ system_prompt: "Be brief." }]),
    );
  });
});

describe("keys", () => {
  it("are changed in their list, and can be off", async () => {
    const server = held.current;
    server.duel({ ready: true });
    server.on("POST /api/v1/votes", () => VOTED);
    open("/c/conv_1");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await userEvent.click(screen.getByRole("button", { name: "Keyboard" }));
    const dialog = await screen.findByRole("dialog");
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Answer 1 is better: 1. Change" }));
    await userEvent.keyboard("x");
    within(dialog).getByRole("button", { name: "Answer 1 is better: X. Change" });
    await userEvent.click(within(dialog).getByRole("checkbox"));
    await userEvent.click(within(dialog).getAllByRole("button", { name: "Close" }).at(-1) as HTMLElement);
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("x");
    expect(server.bodies("POST /api/v1/votes")).toEqual([]);
    await userEvent.click(screen.getByRole("button", { name: "Keyboard" }));
    await userEvent.click(within(await screen.findByRole("dialog")).getByRole("checkbox"));
    await userEvent.click(screen.getAllByRole("button", { name: "Close" }).at(-1) as HTMLElement);
    (document.activeElement as HTMLElement | null)?.blur();
    await userEvent.keyboard("1");
    expect(server.bodies("POST /api/v1/votes")).toEqual([]);
    await userEvent.keyboard("x");
    await waitFor(() => expect(server.bodies("POST /api/v1/votes")).toMatchObject([{ choice: "a" }]));
  });
});
