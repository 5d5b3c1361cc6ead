/** The dashboard, the audit log and the System page against a scripted server: right words, right calls, nothing for axe to find. */

import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import { setLanguage } from "../src/texts";
import { isAccessible, open, serverOfEachTest } from "./page";
import { FakeEventSource, type ScriptedServer } from "./server";

const AT = "2026-01-01T00:00:00Z";

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin(); // the strip above every page
});

describe("dashboard", () => {
  it("shows what is live and the nine steps", async () => {
    open("/admin");
    const strip = await screen.findByRole("region", { name: "State" });
    expect(strip.textContent).toContain("13 of 50 votes");
    const steps = within(await screen.findByRole("list", { name: "The nine steps of the loop" }));
    expect(steps.getAllByRole("listitem")).toHaveLength(9);
    await screen.findByText("After 50 votes for a side; 13 wait.");
    await isAccessible();
  });

  it("draws numbers as they come and can say them as a table", async () => {
    open("/admin");
    const chart = await screen.findByTestId("chart-reward_mean");
    await waitFor(() => expect(FakeEventSource.all).toHaveLength(1));
    const before = server.calls.length;
    FakeEventSource.last().say("metric", {
      run_id: "run_1", stage: "ppo", step: 1, of: 40, values: { reward_mean: 0.25 }, at: AT,
    }); // biome-ignore format: one row
    await waitFor(() => expect(chart.dataset.steps).toBe("1"));
    expect(server.calls.slice(before).some((one) => one.includes("metrics"))).toBe(false);
    await userEvent.click(within(chart).getByRole("button", { name: "Reward as a table" }));
    expect(within(chart).getByRole("cell", { name: "0.25" })).toBeTruthy();
  });

  it("speaks Chinese where that is chosen, also while the page is open", async () => {
    open("/admin");
    await screen.findByRole("region", { name: "At a glance" });
    await act(() => setLanguage("zh"));
    await screen.findByRole("region", { name: "概览" });
    await screen.findByRole("button", { name: "取消训练" });
    await act(() => setLanguage("en"));
    await screen.findByRole("region", { name: "At a glance" });
  });

  it("says what is wrong on every page, and how fast and how often answers come", async () => {
    server.on("GET /api/v1/system", () => SYSTEM);
    open("/admin");
    const wrong = await screen.findByRole("link", { name: /1 problem/ });
    expect([wrong.getAttribute("href"), wrong.textContent]).toEqual([
      "/system",
      "Votes are not safe1 problem",
    ]);
    const tile = (await screen.findByText("0.41 s / 1.9 s")).closest("article");
    expect(tile?.textContent).toContain("4 of 131 answers failed · 2 in the queue · last 15 min");
    screen.getByText("Canary");
    await isAccessible();
  });

  it("says what a training would learn from before it starts one", async () => {
    const idle = { ...status(), run: null };
    server.on("GET /api/v1/status", () => idle);
    server.on("POST /api/v1/plan", () => PLAN);
    server.on("POST /api/v1/runs", () => [409, "request_waits"]);
    open("/admin");
    await userEvent.click(await screen.findByRole("button", { name: "Train now" }));
    const dialog = await screen.findByRole("dialog", { name: "Train now?" });
    await within(dialog).findByText("answer 1: 7 · tie: 2", { exact: false });
    expect(dialog.textContent).toContain("131 pairs in all, 10% held out");
    expect(server.calls).not.toContain("POST /api/v1/runs");
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Train now" }));
    await within(dialog).findByText("Your request waits already.");
  });

  it("says which votes a training leaves out, why, and whose they are", async () => {
    const idle = { ...status(), run: null };
    server.on("GET /api/v1/status", () => idle);
    server.on("POST /api/v1/plan", () => PLAN);
    open("/admin");
    await userEvent.click(await screen.findByRole("button", { name: "Train now" }));
    const dialog = await screen.findByRole("dialog", { name: "Train now?" });
    await within(dialog).findByText("110 pairs would train and 12 judge.");
    await within(dialog).findByText("Left out: 31 over a cap, 12 excluded, 7 too quick, 5 duplicates");
    await userEvent.click(within(dialog).getByText("Whose votes"));
    expect(within(dialog).getByRole("row", { name: "ann 83 40% 31 0.25" })).toBeTruthy();
    expect(within(dialog).getByRole("row", { name: "bob 20 10% 0 open" })).toBeTruthy();
    expect(within(dialog).getByText(/compares their votes with everybody else's first/)).toBeTruthy();
    await isAccessible();
  });

  it("says whose votes a training learned from, once somebody asks", async () => {
    open("/admin");
    const whose = (await screen.findByText("Whose votes")).closest("details") as HTMLDetailsElement;
    expect(server.calls.some((one) => one.includes("annotators"))).toBe(false);
    whose.open = true;
    fireEvent(whose, new Event("toggle"));
    await within(whose).findByRole("row", { name: "eve 8 20% 0 0.25" });
    await isAccessible();
  });

  it("says what starts the next training, and who waits for one", async () => {
    server.on("POST /api/v1/runs", () => [202, { id: "req_2", actor: "acc_1", reason: "now", at: AT }]);
    server.on("DELETE /api/v1/requests/req_1", () => [204]);
    open("/admin");
    await screen.findByText(/^Next at .* because the calendar says so\.$/);
    await screen.findByText("Quiet hours: 08:00-18:00 (Europe/Berlin).");
    await screen.findByText("would have given 20 of 40 new votes; at least 70%", { exact: false });
    await userEvent.click(screen.getByRole("button", { name: "Withdraw the request of bob" }));
    expect(server.calls).toContain("DELETE /api/v1/requests/req_1");
    await userEvent.click(screen.getByText("Ask for the next one"));
    await userEvent.type(screen.getByLabelText("Reason (optional)"), "better data");
    await userEvent.click(screen.getByRole("button", { name: "Ask" }));
    await waitFor(() => expect(server.bodies("POST /api/v1/runs")).toEqual([{ reason: "better data" }]));
    await isAccessible();
  });

  it("takes other settings for one training, refused at their field", async () => {
    const idle = { ...status(), run: null };
    server.on("GET /api/v1/status", () => idle);
    const wanted = () => server.bodies("POST /api/v1/plan").at(-1) as { updates?: number };
    server.on("POST /api/v1/plan", () =>
      wanted().updates === 0 ? [422, "ppo.updates: at least 1", "updates"] : PLAN,
    );
    server.on("POST /api/v1/runs", () => [409, "request_waits"]);
    open("/admin");
    await userEvent.click(await screen.findByRole("button", { name: "Train now" }));
    const dialog = within(await screen.findByRole("dialog", { name: "Train now?" }));
    await userEvent.click(await dialog.findByText("Otherwise in this training"));
    const updates = dialog.getByRole("spinbutton", { name: "Policy updates" });
    expect(updates.getAttribute("placeholder")).toBe("16");
    await userEvent.type(updates, "0{Tab}");
    expect((await dialog.findByRole("alert")).textContent).toBe("at least 1");
    const start = dialog.getByRole<HTMLButtonElement>("button", { name: "Train now" });
    expect([updates.getAttribute("aria-invalid"), start.disabled]).toEqual(["true", true]);
    await isAccessible();
    await userEvent.clear(updates);
    await userEvent.type(updates, "4");
    await userEvent.selectOptions(dialog.getByRole("combobox", { name: "Preset of PPO" }), "vanilla");
    await waitFor(() => expect(wanted()).toEqual({ updates: 4, preset: "vanilla" }));
    await waitFor(() => expect(start.disabled).toBe(false));
    await userEvent.click(start);
    await dialog.findByText("Your request waits already.");
    expect(server.bodies("POST /api/v1/runs")).toEqual([{ updates: 4, preset: "vanilla" }]);
  });

  it("takes a failed training up again where it failed", async () => {
    const failed = {
      ...(status().run as object),
      state: "failed",
      error: "out of memory",
      stages: ["freeze", "reward", "ppo", "gate", "release"].map((stage, index) => ({
        stage,
        state: index < 2 ? "done" : index === 2 ? "failed" : "waiting",
        started_at: null,
        ended_at: null,
        summary: {},
      })),
    };
    const idle = { ...status(), run: null };
    server.on("GET /api/v1/status", () => idle);
    server.on("GET /api/v1/runs", () => ({ items: [failed] }));
    server.on("POST /api/v1/runs/run_1/retry", () => ({ ...failed, state: "queued", error: null }));
    open("/admin");
    await userEvent.click(await screen.findByRole("button", { name: "Retry from PPO-max" }));
    await waitFor(() => expect(server.calls).toContain("POST /api/v1/runs/run_1/retry"));
  });

  it("says by which numbers a reward model was held back, with their intervals", async () => {
    const check = {
      name: "accuracy",
      value: 0.31,
      threshold: 0.6,
      passed: false,
      n: 40,
      low: 0.19,
      high: 0.46,
    };
    const heldBack = {
      ...(status().run as object),
      state: "succeeded",
      version: null,
      error: "held back, the reward model failed its gate",
      stages: ["freeze", "reward", "ppo", "gate", "release"].map((stage, index) => ({
        stage,
        state: index < 2 ? "done" : "skipped",
        started_at: null,
        ended_at: null,
        summary: stage === "reward" ? { checks: [{ ...check, reason: "31% of pairs ranked as voted" }] } : {},
      })),
    };
    server.on("GET /api/v1/status", () => ({ ...status(), run: null }));
    server.on("GET /api/v1/runs", () => ({ items: [heldBack] }));
    open("/admin");
    const gate = await screen.findByRole("group", { name: "Reward model" });
    expect(within(gate).getByRole("cell", { name: "0.31 0.19 to 0.46, n = 40" })).toBeTruthy();
    expect(within(gate).getByText("31% of pairs ranked as voted")).toBeTruthy();
    expect(screen.getAllByText("Held back")).toHaveLength(2); // above the steps and in the list
    expect(screen.queryByText("Succeeded")).toBeNull();
    await isAccessible();
  });

  it("shows an engineer no rollback, and an annotator nothing", async () => {
    server.role = "engineer";
    const { unmount } = open("/admin");
    await screen.findByRole("button", { name: "Cancel training" });
    expect(screen.queryByRole("button", { name: /Roll back/ })).toBeNull();
    expect(screen.queryByRole("link", { name: "People" })).toBeNull();
    unmount();
    server.role = "annotator";
    FakeEventSource.all = [];
    open("/admin");
    await screen.findByText("This page is not for your role");
    expect(FakeEventSource.all).toEqual([]);
  });
});

const ANSWERS = {
  window_s: 900, first_words: 131, first_word_p50_s: 0.412, first_word_p95_s: 1.9349, by_minute_p95_s: [null, 1.2, 1.9], ended: 131, failed: 4, waiting: 2,
}; // biome-ignore format: a fixture

const SYSTEM = {
  at: AT, problems: [{ kind: "aof_off", severity: "bad", what: "Redis keeps no append-only file", fix: "redis-cli CONFIG SET appendonly yes" }],
  redis: {
    version: "8.2", uptime_s: 10, ping_ms: 0.2, clock_skew_s: 0, appendonly: "no", appendfsync: "always", maxmemory_policy: "noeviction", aof_write_ok: true,
    memory_bytes: 1e6, maxmemory_bytes: 0, aof_bytes: null, clients: 2, blocked_clients: 1,
  },
  queues: { train: 0, control: 0 }, workers: [], last_tick: null, engines: [], servers: [], sse_clients: 1, answers: ANSWERS,
  disk: { folder: "/data", total_bytes: 1e9, free_bytes: 5e8, policies_bytes: 1e8 }, machine: { cores: 2, load: 1, memory_bytes: null, memory_free_bytes: null },
  versions: { python: "3.11" },
}; // biome-ignore format: a fixture

const PLAN = {
  parent: 2, new_votes: { a: 7, tie: 2 }, new_pairs: 7, total_votes: 144, total_pairs: 131, max_pairs: 2000, held_out_share: 0.1, rollout_prompts: 256,
  gate_prompts: 64, settings: { ppo: { kl_coef: 0.05, updates: 16 } }, estimate: [{ stage: "ppo", seconds: 600 }], blocked: null,
}; // biome-ignore format: a fixture

const status = () => {
  const reply = server.reply("GET /api/v1/status");
  return reply as Record<string, unknown>;
};

describe("audit", () => {
  const entry = {
    id: "1-0", at: AT, actor: "acc_1", actor_name: "Ada", action: "rollback", object: "v1", object_name: null, before: "v2", after: "v1", detail: {},
    reason: "<img src=x onerror=alert(1)>", request_id: "req_1", hash: "ab".repeat(32), previous_hash: "",
  }; // biome-ignore format: a fixture

  it("lists entries as text, whatever somebody typed, and names where the chain breaks", async () => {
    server.on("GET /api/v1/accounts", () => ({ items: [] }));
    server.on("GET /api/v1/audit", () => ({ items: [entry], next: null }));
    server.on("GET /api/v1/audit/verify", () => ({
      entries: 1,
      broken_at: "1-0",
      reason: "this entry was changed",
      head: "",
    }));
    open("/audit");
    await screen.findByText("<img src=x onerror=alert(1)>");
    expect(document.querySelector("img")).toBeNull();
    await userEvent.click(screen.getByRole("button", { name: "Check the chain" }));
    expect((await screen.findByRole("alert")).textContent).toContain(
      "The chain breaks at entry 1-0: this entry was changed",
    );
    await isAccessible();
  });

  it("asks the server for what the filter says", async () => {
    server.on("GET /api/v1/accounts", () => ({ items: [] }));
    server.on("GET /api/v1/audit?action=rollback", () => ({ items: [entry], next: null }));
    open("/audit");
    await screen.findByText("No entry fits");
    await userEvent.selectOptions(screen.getByLabelText("What"), "rollback");
    await screen.findByRole("cell", { name: "rolled back to" });
    expect(screen.getByRole("link", { name: "Download as CSV" }).getAttribute("href")).toBe(
      "/api/v1/audit.csv?action=rollback",
    );
  });
});

describe("system", () => {
  it("names each problem with its fix", async () => {
    server.on("GET /api/v1/system", () => SYSTEM);
    open("/system");
    const problem = await screen.findByTestId("problem-aof_off");
    expect(problem.textContent).toContain("Fix: redis-cli CONFIG SET appendonly yes");
    await screen.findByText("No worker has reported within half a minute.");
    await isAccessible();
  });
});
