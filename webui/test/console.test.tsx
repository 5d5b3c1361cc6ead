/** The pages behind the dashboard against a scripted server: right words, right calls, nothing for axe to find. */

import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";
import type { Policies, Status } from "../src/api";
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

describe("versions", () => {
  it("walks the lineage by keys, opens a version, marks two to compare", async () => {
    const { items, ...rest } = server.reply("GET /api/v1/policies") as Policies;
    server.on("GET /api/v1/policies", () => ({
      ...rest,
      items: items.map((one) => ({ ...one, metrics: { kl: one.number * 4 } })),
    }));
    open("/versions");
    const live = await screen.findByTestId("version-2");
    live.focus();
    await userEvent.keyboard("{ArrowLeft}");
    expect(document.activeElement).toBe(screen.getByTestId("version-1"));
    await userEvent.keyboard("{ArrowRight}{ArrowRight}");
    expect(document.activeElement).toBe(screen.getByTestId("version-3"));
    await userEvent.keyboard("{Enter}");
    await within(screen.getByTestId("drawer")).findByText("answers are twice as long");
    await userEvent.click(within(screen.getByTestId("drawer")).getByText(/^Files/));
    const links = await within(screen.getByTestId("drawer")).findAllByRole("link");
    expect(links.map((link) => link.getAttribute("href"))).toContain("/api/v1/policies/3/download");
    screen.getByTestId("version-3").focus();
    const said = { 2: "It is blue.", 3: "It is deep blue." };
    for (const [number, answer] of Object.entries(said))
      server.on(`GET /api/v1/policies/${number}/samples`, () => ({
        items: [{ prompt: "The sea?", answer }],
      }));
    await userEvent.keyboard("c{ArrowLeft}c");
    await screen.findByRole("heading", { name: "v3 beside v2" });
    const compared = screen.getByRole("group", { name: "v3 beside v2" });
    const heads = within(compared).getAllByRole("columnheader");
    expect(heads.map((one) => one.textContent)).toEqual(["Measure", "v3", "v2", "v2 minus v3"]);
    expect(within(compared).getByRole("row", { name: /12 8 -4$/ })).toBeTruthy();
    const samples = await screen.findByTestId("samples");
    expect(samples.textContent).toContain("The sea?v3It is deep blue.v2It is blue.");
    await isAccessible();
    await userEvent.click(screen.getByText("What v2 and v3 say to the same prompts"));
    await waitFor(() => expect(screen.getAllByTestId("samples")).toHaveLength(2));
    expect(document.querySelector("ins")?.textContent).toContain("deep");
  });

  it("rolls back only with a reason, after a preflight, and tells the steps", async () => {
    server.on("POST /api/v1/policies/rollback", () => ({
      number: 1,
      previous: 2,
      actor: "acc_1",
      reason: "worse",
      at: AT,
    }));
    open("/versions");
    await userEvent.click(
      (await screen.findAllByRole("button", { name: "Roll back to v1" }))[0] as HTMLElement,
    );
    const dialog = await screen.findByRole("dialog", { name: "Roll back to v1?" });
    await within(dialog).findByText("3 answers finish on v2");
    const button = within(dialog).getByRole<HTMLButtonElement>("button", { name: "Roll back to v1" });
    expect(button.disabled).toBe(true);
    await userEvent.type(within(dialog).getByLabelText(/^Reason/), "worse");
    await isAccessible();
    const initial = status();
    server.on("GET live", () => ({
      ...initial,
      active: { number: 1, since: AT },
      serving: { host: 1 },
      engines: [
        { name: "engine-1", state: "ready", version: 1, in_flight: 0, address: "", error: null, seen_at: AT },
      ],
    }));
    const policies = server.reply("GET /api/v1/policies") as Policies;
    server.on("GET /api/v1/policies", () => ({ ...policies, active: 1, previous: null }));
    server.on("GET /api/v1/status", () => ({ ...(server.reply("GET live") as Status), previous: null }));
    await userEvent.click(button);
    await screen.findByRole("dialog", { name: "v1 is live" });
    await waitFor(() => expect(screen.queryByRole("button", { name: "Roll back to v1" })).toBeNull());
    screen.getByRole("dialog", { name: "v1 is live" });
    expect(server.bodies("POST /api/v1/policies/rollback")).toEqual([{ reason: "worse" }]);
  });

  it("does not offer to roll back to files that are broken", async () => {
    server.on("GET /api/v1/policies/1/preflight", () => ({
      number: 1, state: "retired", ok: false, error: "model.safetensors differs from the manifest", bytes: 0, checked_s: 0.1, warm_on: [], ready_engines: 1,
      in_flight: 0, leaves: 2, canary: null,
    })); // biome-ignore format: a fixture
    open("/versions");
    await userEvent.click(
      (await screen.findAllByRole("button", { name: "Roll back to v1" }))[0] as HTMLElement,
    );
    const dialog = await screen.findByRole("dialog");
    await within(dialog).findByText("model.safetensors differs from the manifest");
    await userEvent.type(within(dialog).getByLabelText(/^Reason/), "worse");
    expect(within(dialog).getByRole<HTMLButtonElement>("button", { name: "Roll back to v1" }).disabled).toBe(
      true,
    );
  });

  it("shows what the guards of a canary see, and the next step of its ramp", async () => {
    const policies = server.reply("GET /api/v1/policies") as Record<string, unknown>;
    const canary = {
      number: 3, share: 0.05, started_at: AT, actor: "heed", reason: "passed", before: "candidate", ramp: [0.25], next_at: 20,
    }; // biome-ignore format: a fixture
    server.on("GET /api/v1/policies", () => ({ ...policies, canary }));
    const guard = {
      name: "failed",
      allowed: 2,
      canary_bad: 3,
      canary_n: 12,
      active_bad: 1,
      active_n: 40,
      e_value: 4.2,
      limit: 100,
    };
    server.on("GET /api/v1/statistics", () => ({
      pairs: [], canary: { number: 3, against: 2, state: "undecided", e_value: 1, wins: 0, losses: 0, n: 0, needs: 100, guards: [guard] },
    })); // biome-ignore format: a fixture
    open("/versions");
    const row = await screen.findByRole("row", { name: /Failed answers/ });
    expect(row.textContent).toBe("Failed answers25% (3/12)2.5% (1/40)4.2 of 100 for more than 2 × the odds");
    await screen.findByText(/Next: 25%, from 20 votes on\./);
    await isAccessible();
  });

  it("promotes by a share, asking for the password when it is stale", async () => {
    let stale = true;
    server.on("POST /api/v1/policies/1/promote", () =>
      stale ? [403, "confirm_password"] : { active: 2, canary: null },
    );
    server.on("POST /api/v1/login/confirm", () => {
      stale = false;
      return {};
    });
    open("/versions");
    await userEvent.click(await screen.findByTestId("version-1"));
    await userEvent.click(
      await within(screen.getByTestId("drawer")).findByRole("button", { name: "Promote" }),
    );
    const dialog = await screen.findByRole("dialog", { name: "Promote v1?" });
    await userEvent.click(within(dialog).getByRole("radio", { name: "25%" }));
    await userEvent.click(within(dialog).getByRole("checkbox", { name: /Go on by itself to 50%, 100%/ }));
    await userEvent.type(within(dialog).getByLabelText("Reason"), "let us see");
    await userEvent.click(within(dialog).getByRole("button", { name: "Start the canary" }));
    const asked = await screen.findByRole("dialog", { name: "Type your password again" });
    await userEvent.type(within(asked).getByLabelText("Password"), "a long enough password");
    await userEvent.click(within(asked).getByRole("button", { name: "Go on" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.bodies("POST /api/v1/policies/1/promote")).toEqual([
      { share: 0.25, reason: "let us see", ramp: [0.5, 1] },
      { share: 0.25, reason: "let us see", ramp: [0.5, 1] },
    ]);
  });
});

describe("people", () => {
  const person = {
    id: "acc_2",
    name: "Bea",
    role: "annotator",
    created_at: AT,
    disabled_at: null,
    on_trial: true,
    sessions: 1,
    keys: 0,
    votes: 9,
  };
  beforeEach(() => {
    server
      .on("GET /api/v1/accounts", () => ({ items: [person] }))
      .on("GET /api/v1/invites", () => ({ items: [] }));
  });

  it("invites by a link that is shown once", async () => {
    server.on("POST /api/v1/invites", () => ({
      id: "inv_1",
      role: "reviewer",
      token: "SECRET",
      expires_at: AT,
    }));
    open("/people");
    await userEvent.click(await screen.findByRole("button", { name: "Invite somebody" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.selectOptions(within(dialog).getByLabelText(/^Role/), "reviewer");
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Make a link" }));
    const made = await screen.findByRole("dialog", { name: "The link is ready" });
    expect(within(made).getByLabelText<HTMLInputElement>(/^Link/).value).toBe(
      `${location.origin}/invite#token=SECRET`,
    );
    expect(server.bodies("POST /api/v1/invites")).toEqual([{ role: "reviewer", hours: 72, note: "" }]);
  });

  it("changes a role and disables an account", async () => {
    server.on("PATCH /api/v1/accounts/acc_2", () => person);
    open("/people");
    await userEvent.selectOptions(await screen.findByLabelText("Role of Bea"), "engineer");
    await userEvent.click(screen.getByRole("button", { name: "Disable Bea" }));
    const dialog = await screen.findByRole("dialog", { name: "Disable Bea?" });
    await userEvent.click(within(dialog).getByRole("button", { name: "Disable" }));
    await waitFor(() =>
      expect(server.bodies("PATCH /api/v1/accounts/acc_2")).toEqual([
        { role: "engineer" },
        { disabled: true },
      ]),
    );
  });

  it("admits an account that is on trial", async () => {
    server.on("PATCH /api/v1/accounts/acc_2", () => {
      server.on("GET /api/v1/accounts", () => ({ items: [{ ...person, on_trial: false }] }));
      return { ...person, on_trial: false };
    });
    open("/people");
    const admit = await screen.findByRole("button", { name: "Admit Bea" });
    await isAccessible();
    await userEvent.click(admit);
    await waitFor(() => expect(screen.queryByText("On trial")).toBeNull());
    expect(server.bodies("PATCH /api/v1/accounts/acc_2")).toEqual([{ admitted: true }]);
  });

  it("lets somebody in by the link, and says when it is too late", async () => {
    server.signedIn = false;
    server.on("POST /api/v1/invites/look", () => ({ role: "reviewer", name: null, expires_at: AT }));
    server.on("POST /api/v1/invites/accept", () => {
      server.signedIn = true;
      return server.me();
    });
    const { unmount } = open("/invite#token=SECRET");
    await screen.findByText("You were invited as: Reviewer. Choose a name and a password.");
    await isAccessible();
    await userEvent.type(screen.getByLabelText("Name"), "Bea");
    await userEvent.type(screen.getByLabelText(/^Password/), "a long enough password");
    await userEvent.click(screen.getByRole("button", { name: "Create my account" }));
    await waitFor(() => expect(location.pathname).toBe("/"));
    expect(server.bodies("POST /api/v1/invites/accept")).toEqual([
      { token: "SECRET", name: "Bea", password: "a long enough password" },
    ]);
    unmount();
    server.on("POST /api/v1/invites/look", () => [410, "invite_gone"]);
    open("/invite#token=OLD");
    await screen.findByRole("heading", { name: "This link does not work any more" });
  });
});

describe("settings", () => {
  it("makes a key with few rights unless asked, and shows it once", async () => {
    server.on("GET /api/v1/keys", () => ({ items: [] })).on("GET /api/v1/sessions", () => ({ items: [] }));
    server.on("POST /api/v1/keys", () => ({
      id: "key_1",
      label: "ci",
      scopes: ["chat"],
      ends: "abcd",
      secret: "heed_sk_abcd",
    }));
    open("/settings");
    await userEvent.click(await screen.findByRole("button", { name: "New key" }));
    const dialog = await screen.findByRole("dialog");
    await userEvent.type(within(dialog).getByLabelText("Name"), "ci");
    expect(within(dialog).getByRole<HTMLInputElement>("checkbox", { name: /^admin/ }).checked).toBe(false);
    await userEvent.click(within(dialog).getByRole("checkbox", { name: /^feedback/ }));
    await isAccessible();
    await userEvent.click(within(dialog).getByRole("button", { name: "Make the key" }));
    await screen.findByRole("dialog", { name: "The key is ready" });
    expect(server.bodies("POST /api/v1/keys")).toEqual([{ label: "ci", scopes: ["chat"] }]);
  });
});

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
