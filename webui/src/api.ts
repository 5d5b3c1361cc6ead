/** Every call to the server: typed in, typed out, failures as one Problem. */
import type { components } from "./api-types";

type Schemas = components["schemas"];
export type Me = Schemas["AccountOut"];
export type Conversation = Schemas["ConversationOut"];
export type Detail = Schemas["ConversationTree"];
export type Message = Schemas["MessageOut"];
export type Answer = Schemas["AnswerOut"];
export type Duel = Schemas["DuelOut"];
export type Turn = Schemas["TurnOut"];
export type VoteCounted = Schemas["CastOut"];
export type Status = Schemas["StatusOut"];
export type Run = Schemas["Run"];
export type StageStatus = Schemas["StageStatus"];
export type Stage = StageStatus["stage"];
/** A row as the feed sends it; a fetched one has an id too. */
export type MetricRow = Omit<Schemas["MetricOut"], "id">;
export type Engine = Schemas["EngineStatus"];
export type Policies = Schemas["PolicyPage"];
export type PolicyVersion = Schemas["PolicyVersion"];
export type GateReport = Schemas["GateReport"];
export type Activation = Schemas["Activation"];
export type Guidelines = Schemas["GuidelinesOut"];
export type DuelChoice = NonNullable<Duel["vote"]>["choice"];
export type ThumbChoice = NonNullable<Answer["thumb"]>;
export type Strength = 1 | 2;
export type Mode = "auto" | "duel" | "single";
export type VoteIn =
  | { kind: "duel"; duel_id: string; choice: DuelChoice; strength: Strength; shown_ms?: number }
  | { kind: "thumb"; answer_id: string; choice: ThumbChoice }
  /** Ids of answers, the best first; those in one list tie. */
  | { kind: "ranking"; ranking: string[][]; shown_ms?: number }
  | { kind: "edit"; answer_id: string; text: string; shown_ms?: number };
/** What one training does otherwise than the configuration file says. */
export type RunOptions = Schemas["RunOptions"];
export type MyVote = Schemas["MyVote"];
export type MyQueue = Schemas["MyQueue"];
export type QueueItems = Schemas["ItemPage"];
export interface VoteFilter {
  kind?: MyVote["kind"];
  status?: MyVote["status"];
}
/** Reasons for a vote that was cast, or another choice. */
export interface VoteChange {
  choice?: DuelChoice;
  tags?: string[];
  comment?: string | null;
}

/** What went wrong, as the server's problem+json says it; status 0 means that it was not reached. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    readonly detail: string,
    readonly field: string | null = null,
    readonly remedy: string | null = null,
  ) {
    super(detail);
  }

  /** Worth sending again as it is: the server was away or busy, not unwilling. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

async function problemOf(response: Response): Promise<Problem> {
  try {
    const body = await response.json();
    const kind = String(body.type ?? "").replace(/^urn:heed:/, "") || "http";
    return new Problem(response.status, kind, String(body.detail ?? ""), body.field, body.remedy);
  } catch {
    return new Problem(response.status, "http", response.statusText);
  }
}

/** Everything goes through here. A body is JSON, or a file as it is. */
export async function call<T>(
  method: Method,
  path: string,
  body?: unknown,
  headers?: HeadersInit,
): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: {
        ...(body === undefined || body instanceof Blob ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined || body instanceof Blob ? body : JSON.stringify(body),
    });
  } catch {
    throw new Problem(0, "unreachable", "");
  }
  if (!response.ok) throw await problemOf(response);
  const empty = response.status === 204 || response.headers.get("content-length") === "0";
  return (empty ? undefined : await response.json()) as T;
}

const at = (strings: TemplateStringsArray, ...ids: string[]) =>
  `/api/v1/${String.raw({ raw: strings }, ...ids.map(encodeURIComponent))}`;

type Items<T> = { items: T[] };

export const api = {
  setupNeeded: () => call<{ needed: boolean }>("GET", at`setup`),
  setUp: (token: string, name: string, password: string) =>
    call<Me>("POST", at`setup`, { token, name, password }),
  signIn: (name: string, password: string) => call<Me>("POST", at`login`, { name, password }),
  signOut: () => call<void>("POST", at`logout`),
  me: () => call<Me>("GET", at`me`),

  conversations: (after?: string) =>
    call<Schemas["ConversationPage"]>(
      "GET",
      at`conversations` + (after ? `?after=${encodeURIComponent(after)}` : ""),
    ),
  open: (system_prompt?: string) =>
    call<Conversation>("POST", at`conversations`, system_prompt ? { system_prompt } : {}),
  conversation: (id: string) => call<Detail>("GET", at`conversations/${id}`),
  change: (id: string, changes: { title?: string; leaf_id?: string; system_prompt?: string }) =>
    call<Conversation>("PATCH", at`conversations/${id}`, changes),
  remove: (id: string) => call<void>("DELETE", at`conversations/${id}`),
  restore: (id: string) => call<Conversation>("POST", at`conversations/${id}/restore`),
  search: (words: string, skip: number) =>
    call<Schemas["SearchPage"]>("GET", `${at`search`}?q=${encodeURIComponent(words)}&skip=${skip}`),
  importOne: (file: unknown) => call<Conversation>("POST", at`conversations/import`, file),
  exportLink: (id: string, format: "json" | "markdown") =>
    `${at`conversations/${id}/export`}?format=${format}`,
  send: (id: string, text: string, parent_id: string | null, mode: Mode) =>
    call<Turn>("POST", at`conversations/${id}/messages`, { text, parent_id, mode }),
  answerAgain: (id: string, parent_id: string, mode: Mode) =>
    call<Turn>("POST", at`conversations/${id}/answers`, { parent_id, mode }),
  goOn: (answerId: string) => call<Turn>("POST", at`answers/${answerId}/continue`),
  stop: (answerId: string) => call<void>("POST", at`answers/${answerId}/stop`),
  vote: (vote: VoteIn, key: string) => call<VoteCounted>("POST", at`votes`, vote, { "Idempotency-Key": key }),
  amendVote: (id: string, change: VoteChange) => call<unknown>("PATCH", at`votes/${id}`, change),
  undoVote: (id: string) => call<unknown>("DELETE", at`votes/${id}`),
  myVotes: (filter: VoteFilter, before?: string) => {
    const asked = { ...filter, ...(before ? { before } : {}) };
    return call<Schemas["MyVotePage"]>("GET", `${at`votes/mine`}?${new URLSearchParams(asked)}`);
  },
  queueNext: () => call<MyQueue>("POST", at`queue/next`),
  queueRelease: () => call<void>("POST", at`queue/release`),
  queueFlag: (conversation_id: string, message_id: string, overlap: number) =>
    call<unknown>("POST", at`queue/flags`, { conversation_id, message_id, overlap }),
  queueItems: () => call<QueueItems>("GET", at`queue/items`),
  queueAdd: (jsonl: string, first_line: number, overlap: number) =>
    call<Schemas["ItemsAdded"]>("POST", at`queue/items`, { jsonl, first_line, overlap }),
  queueRemove: (id: string) => call<void>("DELETE", at`queue/items/${id}`),
  guidelines: () => call<Guidelines>("GET", at`guidelines`),
  writeGuidelines: (text: string, after: number) => call<unknown>("PUT", at`guidelines`, { text, after }),
  guidelinesRead: (version: number) => call<void>("POST", at`guidelines/read`, { version }),

  status: () => call<Status>("GET", at`status`),
  runs: () => call<Items<Run>>("GET", at`runs`),
  run: (id: string) => call<Run>("GET", at`runs/${id}`),
  metrics: (id: string) => call<Items<MetricRow>>("GET", at`runs/${id}/metrics`),
  cancel: (id: string) => call<void>("POST", at`runs/${id}/cancel`),
  policies: () => call<Policies>("GET", at`policies`),
  rollBack: (reason: string) => call<Activation>("POST", at`policies/rollback`, { reason }),
};
