/** Every view against a scripted server: the right words, the right calls, and nothing for axe to find. */

import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import { isAccessible, open, serverOfEachTest } from "./page";
import { FakeEventSource, later, type ScriptedServer } from "./server";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
});
describe("doors", () => {
  it("makes the first admin from the link", async () => {
    server.on("GET /api/v1/setup", () => ({ needed: true })).on("POST /api/v1/setup", () => server.me());
    server.signedIn = false;
    open("/setup#token=secret");
    await userEvent.type(await screen.findByLabelText("Name"), "Ada");
    await isAccessible();
    await userEvent.type(screen.getByLabelText(/^Password/), "short");
    await userEvent.click(screen.getByRole("button", { name: "Create the admin account" }));
    expect(screen.getByRole("alert").textContent).toContain("12 characters");
    expect(server.bodies("POST /api/v1/setup")).toEqual([]);
    await userEvent.type(screen.getByLabelText(/^Password/), " but now long enough");
    server.signedIn = true;
    await userEvent.click(screen.getByRole("button", { name: "Create the admin account" }));
    await screen.findByRole("textbox", { name: "Your message" });
    expect(server.bodies("POST /api/v1/setup")).toEqual([
      { token: "secret", name: "Ada", password: "short but now long enough" },
    ]);
  });

  it("leads who is not signed in to the door, and back to where they wanted", async () => {
    server.signedIn = false;
    server.on("POST /api/v1/login", () => {
      server.signedIn = true;
      return server.me();
    });
    open("/c/conv_9");
    await screen.findByRole("heading", { name: "Sign in" });
    await isAccessible();
    await userEvent.type(screen.getByLabelText("Name"), "Ada");
    await userEvent.type(screen.getByLabelText("Password"), "whatever it is");
    await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
    await waitFor(() => expect(location.pathname).toBe("/c/conv_9"));
  });

  it("says why a sign-in failed", async () => {
    server.signedIn = false;
    server.on("POST /api/v1/login", () => [401, "wrong_credentials"]);
    open("/login?to=//other.example");
    await userEvent.type(await screen.findByLabelText("Name"), "Ada");
    await userEvent.type(screen.getByLabelText("Password"), "not this one");
    await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
    expect((await screen.findByRole("alert")).textContent).toBe("The name or the password is not right.");
  });
});

describe("chat", () => {
  it("welcomes to an empty conversation", async () => {
    open("/");
    await screen.findByRole("heading", { name: "Ask something" });
    await screen.findByText("Your conversations will be listed here.");
    await isAccessible();
  });

  it("shows a duel blind, takes the vote by key and says what it counted for", async () => {
    const detail = server.duel({ ready: true });
    server.on("POST /api/v1/votes", () => {
      server.decide(detail, "b");
      return {
        vote: { id: "vote_1", answers: [] },
        pending: 13,
        min_votes: 50,
        reveal: { version_a: 1, version_b: 2 },
      };
    });
    open("/c/conv_1");
    const group = await screen.findByRole("group", { name: "Which answer is better?" });
    expect(document.body.textContent).not.toMatch(/\bv[12]\b/);
    await isAccessible();
    expect(document.activeElement).toBe(group);
    await userEvent.keyboard("2");
    await screen.findByText("Counted, 13 of 50 until the next training");
    await screen.findByText("v2 beat v1");
    expect(within(screen.getByRole("article", { name: "Answer 2" })).getByText("Your choice")).toBeTruthy();
    expect(server.bodies("POST /api/v1/votes")).toMatchObject([
      { kind: "duel", duel_id: detail.duels[0]?.id, choice: "b" },
    ]);
    await userEvent.keyboard("1");
    expect(server.bodies("POST /api/v1/votes")).toHaveLength(1);
    await isAccessible();
  });

  it("gives the plain keys back when Escape leaves the text", async () => {
    const detail = server.duel({ ready: true });
    server.on("POST /api/v1/votes", () => {
      server.decide(detail, "a");
      return { vote: { id: "vote_1", answers: [] }, pending: 13, min_votes: 50, reveal: { version_a: 1, version_b: 2 } }; // biome-ignore format: a fixture
    });
    server.on("DELETE /api/v1/votes/vote_1", () => ({}));
    open("/c/conv_1");
    await screen.findByRole("group", { name: "Which answer is better?" });
    await userEvent.keyboard("1");
    await screen.findByText(/^Counted, /);
    const composer = screen.getByRole<HTMLTextAreaElement>("textbox", { name: "Your message" });
    expect(document.activeElement).toBe(composer);
    await userEvent.keyboard("z");
    expect([composer.value, server.calls.includes("DELETE /api/v1/votes/vote_1")]).toEqual(["z", false]);
    await userEvent.keyboard("{Backspace}{Escape}z");
    await waitFor(() => expect(server.calls).toContain("DELETE /api/v1/votes/vote_1"));
    expect(document.activeElement).toBe(screen.getByRole("log"));
  });

  it("keeps digits for the text while somebody writes", async () => {
    server.duel({ ready: true });
    open("/c/conv_1");
    await userEvent.type(await screen.findByRole("textbox", { name: "Your message" }), "1 and 2");
    expect(server.bodies("POST /api/v1/votes")).toEqual([]);
  });

  it("streams a duel: nothing of one side before the other has words, no vote before it is ready", async () => {
    const detail = server.duel({ ready: false });
    open("/c/conv_1");
    const [first, second] = await screen.findAllByRole("article");
    const source = FakeEventSource.last();
    expect(source.url).toBe(detail.answers[0]?.stream);
    source.say("answer.delta", { type: "answer.delta", answer_id: "ans_a", text: "Blue" });
    await later();
    expect(first?.textContent).not.toContain("Blue");
    source.say("answer.delta", { type: "answer.delta", answer_id: "ans_b", text: "Red" });
    await waitFor(() => expect(first?.textContent).toContain("Blue"));
    expect(second?.textContent).toContain("Red");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Tie" }).disabled).toBe(true);
    for (const answer_id of ["ans_a", "ans_b"])
      source.say("answer.end", {
        type: "answer.end",
        answer_id,
        state: "finished",
        finish_reason: "stop",
        error: null,
      });
    source.say("duel.ready", { type: "duel.ready", duel_id: detail.duels[0]?.id });
    await waitFor(() =>
      expect(screen.getByRole<HTMLButtonElement>("button", { name: "Tie" }).disabled).toBe(false),
    );
    server.finish(detail);
    source.say("turn.end", { type: "turn.end" });
    await waitFor(() => expect(source.closed).toBe(true));
  });

  it("stops what streams on Escape", async () => {
    server.duel({ ready: false });
    server
      .on("POST /api/v1/answers/ans_a/stop", () => ({}))
      .on("POST /api/v1/answers/ans_b/stop", () => ({}));
    open("/c/conv_1");
    await screen.findByRole("button", { name: "Stop" });
    await userEvent.keyboard("{Escape}");
    await waitFor(() => expect(server.calls.filter((one) => one.endsWith("/stop"))).toHaveLength(2));
  });

  it("offers a way on when one side failed", async () => {
    const detail = server.duel({ ready: false });
    server.finish(detail, "failed");
    open("/c/conv_1");
    await screen.findByText(/This duel does not count/);
    expect(screen.getByRole("button", { name: "Try again" })).toBeTruthy();
    expect(screen.getAllByRole("button", { name: "Go on from this answer" })).toHaveLength(1);
    expect(screen.queryByRole("group", { name: "Which answer is better?" })).toBeNull();
    await isAccessible();
  });

  it("keeps a message that the server kept, and offers to ask again", async () => {
    const detail = server.duel({ ready: true });
    server.decide(detail, "a");
    server.on("POST /api/v1/conversations/conv_1/messages", () => {
      detail.messages.push({
        id: "msg_2",
        parent_id: "ans_a",
        text: "And then?",
        created_at: "2026-01-01T00:01:00Z",
      });
      return [503, "engine_unavailable"];
    });
    open("/c/conv_1");
    await userEvent.type(await screen.findByRole("textbox", { name: "Your message" }), "And then?{Enter}");
    await screen.findByText("This message has no answer yet.");
    expect(server.bodies("POST /api/v1/conversations/conv_1/messages")).toMatchObject([
      { parent_id: "ans_a" },
    ]);
  });

  it("says that a conversation is gone", async () => {
    open("/c/nowhere");
    await screen.findByText("This conversation does not exist");
  });

  it("speaks Chinese", async () => {
    open("/");
    await screen.findByRole("heading", { name: "Ask something" });
    await userEvent.selectOptions(screen.getByLabelText("Language"), "zh");
    await screen.findByRole("heading", { name: "问点什么" });
    expect(document.documentElement.lang).toBe("zh-Hans");
  });
});
