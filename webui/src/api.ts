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
export type DuelChoice = NonNullable<Duel["vote"]>["choice"];
export type ThumbChoice = NonNullable<Answer["thumb"]>;
export type Mode = "auto" | "duel" | "single";
export type VoteIn =
  | { kind: "duel"; duel_id: string; choice: DuelChoice; shown_ms?: number }
  | { kind: "thumb"; answer_id: string; choice: ThumbChoice };

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
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
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

  conversations: () => call<Items<Conversation>>("GET", at`conversations`),
  open: (title?: string) => call<Conversation>("POST", at`conversations`, title ? { title } : {}),
  conversation: (id: string) => call<Detail>("GET", at`conversations/${id}`),
  change: (id: string, changes: { title?: string; leaf_id?: string }) =>
    call<Conversation>("PATCH", at`conversations/${id}`, changes),
  remove: (id: string) => call<void>("DELETE", at`conversations/${id}`),
  send: (id: string, text: string, parent_id: string | null, mode: Mode) =>
    call<Turn>("POST", at`conversations/${id}/messages`, { text, parent_id, mode }),
  answerAgain: (id: string, parent_id: string, mode: Mode) =>
    call<Turn>("POST", at`conversations/${id}/answers`, { parent_id, mode }),
  stop: (answerId: string) => call<void>("POST", at`answers/${answerId}/stop`),
  vote: (vote: VoteIn, key: string) => call<VoteCounted>("POST", at`votes`, vote, { "Idempotency-Key": key }),

  status: () => call<Status>("GET", at`status`),
  runs: () => call<Items<Run>>("GET", at`runs`),
  run: (id: string) => call<Run>("GET", at`runs/${id}`),
  metrics: (id: string) => call<Items<MetricRow>>("GET", at`runs/${id}/metrics`),
  train: () => call<Run>("POST", at`runs`),
  cancel: (id: string) => call<void>("POST", at`runs/${id}/cancel`),
  policies: () => call<Policies>("GET", at`policies`),
  rollBack: (reason: string) => call<Activation>("POST", at`policies/rollback`, { reason }),
};
