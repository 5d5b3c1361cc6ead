/** A scripted server at the two edges that the page has: fetch and EventSource. */
import type { Detail, DuelChoice, Policies, Run, Status } from "../src/api";

type Reply = unknown | [status: number, kind: string, field?: string];
const AT = "2026-01-01T00:00:00Z";
/** The outbox and the live turns outlive a test, as they outlive a view: no two tests share a duel. */
let serial = 0;

export const later = (ms = 30) => new Promise((done) => setTimeout(done, ms));

const MAY = {
  admin: ["annotate", "chat", "manage", "own", "release", "review", "train", "vote", "watch"],
  engineer: ["annotate", "chat", "own", "train", "vote", "watch"],
  annotator: ["annotate", "chat", "own", "vote"],
};

const RULES = {
  min_votes: 50, every_hours: null, calendar: "0 2 * * *", quiet_hours: ["08:00-18:00"], time_zone: "Europe/Berlin", drift: 0.1,
}; // biome-ignore format: a fixture

/** An EventSource that a test speaks through. */
export class FakeEventSource extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSED = 2;
  static all: FakeEventSource[] = [];
  static last(): FakeEventSource {
    const found = FakeEventSource.all.at(-1);
    if (!found) throw new Error("no EventSource was opened");
    return found;
  }
  readyState = 1;
  closed = false;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  private serial = 0;

  constructor(readonly url: string) {
    super();
    FakeEventSource.all.push(this);
  }

  say(type: string, data: unknown, id = `1-${++this.serial}`): void {
    this.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data), lastEventId: id }));
  }

  /** The server answers with an error: a browser gives up then. */
  refuse(): void {
    this.readyState = FakeEventSource.CLOSED;
    this.onerror?.();
  }

  close(): void {
    this.closed = true;
    this.readyState = FakeEventSource.CLOSED;
  }
}

export class ScriptedServer {
  signedIn = true;
  role: keyof typeof MAY = "admin";
  readonly calls: string[] = [];
  private readonly sent: [string, unknown][] = [];
  private readonly routes = new Map<string, () => Reply>();

  constructor() {
    this.on("GET /api/v1/me", () => (this.signedIn ? this.me() : [401, "signed_out"]));
    this.on("GET /api/v1/setup", () => ({ needed: false }));
    this.on("GET /api/v1/conversations", () => ({ items: [], more: false }));
  }

  on(route: string, reply: () => Reply): this {
    this.routes.set(route, reply);
    return this;
  }

  /** What a route answers now. */
  reply = (route: string): unknown => structuredClone(this.routes.get(route)?.());

  me = () => ({ id: "acc_1", name: "Ada", role: this.role, may: MAY[this.role] });

  bodies = (route: string): unknown[] => this.sent.filter(([to]) => to === route).map(([, body]) => body);

  fetch = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const route = `${init.method ?? "GET"} ${path}`;
    this.calls.push(route);
    if (typeof init.body === "string") this.sent.push([route, JSON.parse(String(init.body))]);
    const reply = this.routes.get(route)?.() ?? [404, "not_found"];
    if (!Array.isArray(reply)) return Response.json(reply);
    const [status, kind, field = null] = reply;
    return Response.json({ type: `urn:heed:${kind}`, title: kind, status, detail: kind, field }, { status });
  };

  /** A conversation whose one message got a duel: under way, or complete and undecided. */
  duel({ ready }: { ready: boolean }): Detail {
    const n = ++serial;
    const answer = (side: "a" | "b") => ({
      id: `ans_${side}`, parent_id: "msg_1", duel_id: `duel_${n}`, side, state: ready ? ("finished" as const) : ("streaming" as const),
      text: ready ? `The ${side} text` : "", finish_reason: ready ? "stop" : null, error: null, created_at: AT, policy_version: null,
      stream: ready ? null : `/api/v1/streams/stream_${n}`, thumb: null, edited_from: null, withdrawn: false,
    }); // biome-ignore format: a fixture
    const conversation = {
      id: "conv_1",
      title: "Sky",
      system_prompt: null,
      leaf_id: null,
      created_at: AT,
      updated_at: AT,
    };
    const detail: Detail = {
      conversation,
      messages: [{ id: "msg_1", parent_id: null, text: "Why is the sky blue?", created_at: AT }],
      answers: [answer("a"), answer("b")],
      duels: [
        { id: `duel_${n}`, parent_id: "msg_1", answer_a: "ans_a", answer_b: "ans_b", ready, reason: null, vote: null, version_a: null, version_b: null },
      ],
    }; // biome-ignore format: a fixture
    this.on("GET /api/v1/conversations", () => ({ items: [conversation], more: false }));
    this.on("GET /api/v1/conversations/conv_1", () => structuredClone(detail));
    return detail;
  }

  decide(detail: Detail, choice: DuelChoice): void {
    const [duel] = detail.duels;
    const vote = { id: "vote_1", choice, strength: 1, tags: [], comment: null, early: false, leak: null };
    if (duel) Object.assign(duel, { vote, version_a: 1, version_b: 2 });
    detail.conversation.leaf_id = choice === "b" ? "ans_b" : "ans_a";
  }

  finish(detail: Detail, second: "finished" | "failed" = "finished"): void {
    const [a, b] = detail.answers;
    if (a) Object.assign(a, { state: "finished", text: "Blue", stream: null });
    if (b) Object.assign(b, { state: second, text: "Red", stream: null });
    if (detail.duels[0]) detail.duels[0].ready = second === "finished";
  }

  /** What the admin page reads: v2 live, a run in its PPO stage, v3 held back. */
  admin(): void {
    const stages = ["freeze", "reward", "ppo", "gate", "release"] as const;
    const run: Run = {
      id: "run_1", state: "running", requested_by: "votes", attempt: 1, token: 1, cancel_requested: false, config: {}, version: null, error: null,
      created_at: AT, started_at: AT, ended_at: null,
      stages: stages.map((stage, index) => ({
        stage, state: index < 2 ? "done" : index === 2 ? "running" : "waiting", started_at: index < 3 ? AT : null, ended_at: index < 2 ? AT : null,
        summary: index === 1 ? { held_out_accuracy: 0.71 } : {},
      })),
    }; // biome-ignore format: a fixture
    const status: Status = {
      active: { number: 2, since: AT }, previous: 1, serving: {}, run, warnings: [], canary: null, paused: null,
      engines: [{ name: "engine-1", address: "", state: "ready", version: 2, in_flight: 1, error: null, draining: false, device: "here", seen_at: AT }],
      votes: { total: 144, pending: 13, min_votes: 50 },
    }; // biome-ignore format: a fixture
    const version = {
      run_id: null,
      reward_model: 2,
      folder: "",
      sha256: "ab".repeat(32),
      metrics: {},
      created_at: AT,
    };
    const check = {
      name: "length_ratio",
      value: 1.9,
      threshold: 1.5,
      passed: false,
      reason: "answers are twice as long",
    };
    const policies: Policies = {
      active: 2, previous: 1, canary: null, timeline: [{ number: 2, previous: 1, actor: "release", reason: "the gate passed", at: AT }],
      items: [
        { ...version, number: 1, parent: null, reward_model: null, state: "retired", reason: null, report: null },
        { ...version, number: 2, parent: 1, state: "active", reason: null, report: null },
        { ...version, number: 3, parent: 2, state: "rejected", reason: "too long", report: { passed: false, checks: [check], fingerprints: [] } },
      ],
    }; // biome-ignore format: a fixture
    this.on("GET /api/v1/status", () => status);
    this.on("GET /api/v1/runs", () => ({ items: [run] }));
    this.on("GET /api/v1/runs/run_1/metrics", () => ({ items: [] }));
    this.on("GET /api/v1/policies", () => policies);
    this.on("GET /api/v1/policies/history", () => ({ canaries: [] }));
    for (const item of policies.items) {
      this.on(`GET /api/v1/policies/${item.number}`, () => ({
        version: item, run_id: null, requested_by: null, snapshot: null, skipped: {}, settings: [], metrics: [], votes_added: null, votes_removed: null, tainted: 0, files: [], bytes: 0, card: null, files_error: null,
      })); // biome-ignore format: a fixture
      this.on(`GET /api/v1/policies/${item.number}/preflight`, () => ({
        number: item.number, state: item.state, ok: true, error: null, bytes: 10, checked_s: 0.1, warm_on: [], ready_engines: 1, in_flight: 3, leaves: 2, canary: null,
      })); // biome-ignore format: a fixture
    }
    this.on("GET /api/v1/runs/run_1/alerts", () => ({ items: [] }));
    this.on("GET /api/v1/runs/run_1/samples", () => ({ items: [] }));
    this.on("GET /api/v1/schedule", () => ({
      rules: RULES,
      file: RULES,
      changed: {},
      pending: 13,
      oldest_waiting_at: null,
      due_at: null,
      paused: null,
      outlook: {
        next_at: "2026-11-22T01:00:00Z",
        because: "calendar",
        quiet_until: null,
        drift: { right: 20, n: 40, at_least: 0.7, e_value: 3 },
        at: "2026-11-21T18:00:00Z",
      },
      requests: [{ id: "req_1", name: "bob", reason: "a new topic", at: "2026-11-21T17:00:00Z" }],
    }));
    this.on("GET /api/v1/runs/run_1/annotators", () => ({
      cap: 52, more_annotators: 0,
      annotators: [{ name: "eve", votes: 8, share: 0.2, over_cap: 0, weight: 0.25, unknown: false }],
    })); // biome-ignore format: short
    this.on("GET /api/v1/plan/data", () => ({
      votes: 118,
      train_pairs: 110,
      held_out_pairs: 12,
      imported: 0,
      too_few: null,
      left_out: { duplicate: 5, "too quick": 7, "over the annotator's cap": 31, excluded: 12 },
      cap: 52,
      annotators: [{ name: "ann", votes: 83, share: 0.4, over_cap: 31, weight: 0.25, unknown: false }, { name: "bob", votes: 20, share: 0.1, over_cap: 0, weight: 1, unknown: true }],
      more_annotators: 3,
    })); // biome-ignore format: a fixture
    this.on("GET /api/v1/audit", () => ({ items: [], next: null }));
  }
}
