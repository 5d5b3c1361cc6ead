/** The calls of the pages behind the dashboard, and what each is cached under. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { call, type RunOptions } from "../../api";
import type { components } from "../../api-types";

type Schemas = components["schemas"];
export type Role = Schemas["AccountOut"]["role"];
export type Permission = Schemas["AccountOut"]["may"][number];
export type Scope = Schemas["KeyOut"]["scopes"][number];
export type Person = Schemas["PersonOut"];
export type Invite = Schemas["InviteOut"];
export type InviteMade = Schemas["InviteMade"];
export type InviteSeen = Schemas["InviteSeen"];
export type Key = Schemas["KeyOut"];
export type KeyMade = Schemas["KeyMade"];
export type Session = Schemas["SessionOut"];
export type AuditEntry = Schemas["AuditOut"];
export type AuditPage = Schemas["AuditPage"];
export type AuditVerdict = Schemas["AuditVerdict"];
export type System = Schemas["SystemOut"];
export type SystemProblem = Schemas["ProblemOut"];
export type Version = Schemas["VersionOut"];
export type Change = Schemas["Change"];
export type Preflight = Schemas["PreflightOut"];
export type CanarySpan = Schemas["CanarySpan"];
export type Canary = Schemas["Canary"];
export type Promoted = Schemas["PromotedOut"];
export type Plan = Schemas["PlanOut"];
export type DataPlan = Schemas["DataPlanOut"];
export type WhoseVotes = Schemas["WhoseVotesOut"];
export type Schedule = Schemas["ScheduleOut"];
/** What starts a training by itself. */
export type Rules = Schemas["StartRules"];
export type Alert = Schemas["AlertOut"];
export type Sample = Schemas["SampleOut"];
export type Log = Schemas["LogOut"];

export const ROLES: readonly Role[] = ["admin", "engineer", "reviewer", "annotator", "user"];
export const SCOPES: readonly Scope[] = ["chat", "feedback", "read", "admin"];

const at = (strings: TemplateStringsArray, ...ids: (string | number)[]) =>
  `/api/v1/${String.raw({ raw: strings }, ...ids.map((id) => encodeURIComponent(id)))}`;
type Items<T> = { items: T[] };

/** What the audit page asks for; what is empty is not asked. */
export interface AuditFilter {
  actor?: string;
  action?: string;
  text?: string;
  since?: string;
}
const search = (values: object) => {
  const given = Object.entries(values).filter(([, value]) => value);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, `${value}`]))}` : "";
};

export const consoleApi = {
  confirm: (password: string) => call<void>("POST", at`login/confirm`, { password }),
  changePassword: (current: string, password: string) =>
    call<void>("POST", at`password`, { current, password }),
  endSession: (id: string) => call<void>("DELETE", at`sessions/${id}`),
  endOtherSessions: () => call<{ revoked: number }>("DELETE", at`sessions`),
  makeKey: (label: string, scopes: Scope[]) => call<KeyMade>("POST", at`keys`, { label, scopes }),
  revokeKey: (id: string) => call<void>("DELETE", at`keys/${id}`),

  changePerson: (id: string, change: { role?: Role; disabled?: boolean; admitted?: boolean }) =>
    call<Person>("PATCH", at`accounts/${id}`, change),
  passwordLink: (id: string) => call<InviteMade>("POST", at`accounts/${id}/password-link`),
  invite: (role: Role, hours: number, note: string) =>
    call<InviteMade>("POST", at`invites`, { role, hours, note }),
  revokeInvite: (id: string) => call<void>("DELETE", at`invites/${id}`),
  lookAtInvite: (token: string) => call<InviteSeen>("POST", at`invites/look`, { token }),
  acceptInvite: (token: string, name: string | null, password: string) =>
    call<Schemas["AccountOut"]>("POST", at`invites/accept`, { token, name, password }),

  audit: (filter: AuditFilter, before?: string) =>
    call<AuditPage>("GET", at`audit` + search({ ...filter, before })),
  auditCsv: (filter: AuditFilter) => at`audit.csv` + search(filter),
  verifyAudit: () => call<AuditVerdict>("GET", at`audit/verify`),

  preflight: (number: number) => call<Preflight>("GET", at`policies/${number}/preflight`),
  promote: (number: number, share: number, reason: string, ramp: readonly number[]) =>
    call<Promoted>("POST", at`policies/${number}/promote`, { share, reason, ramp }),
  changeShare: (share: number, reason: string) => call<Canary>("PUT", at`canary`, { share, reason }),
  endCanary: (outcome: "promoted" | "rolled_back" | "stopped", reason: string) =>
    call<Promoted>("POST", at`canary/end`, { outcome, reason }),

  retry: (id: string) => call<Schemas["Run"]>("POST", at`runs/${id}/retry`),
  acknowledge: (id: string, alert: string) => call<void>("POST", at`runs/${id}/alerts/${alert}/acknowledge`),
  /** The run, or the request that waits until the open one has ended. */
  train: (asked: Partial<Schemas["TrainIn"]>) =>
    call<Schemas["Run"] | Schemas["TrainingRequest"]>("POST", at`runs`, asked),
  withdrawRequest: (id: string) => call<void>("DELETE", at`requests/${id}`),
  pause: (reason: string) => call<unknown>("PUT", at`schedule/pause`, { reason }),
  resume: () => call<void>("DELETE", at`schedule/pause`),
  changeRules: (wanted: Record<string, unknown>) => call<Schedule>("PATCH", at`schedule/rules`, wanted),
  rulesAsInFile: () => call<Schedule>("DELETE", at`schedule/rules`),
};

export const consoleKeys = {
  people: ["people"] as const,
  invites: ["invites"] as const,
  keys: ["keys"] as const,
  sessions: ["sessions"] as const,
  system: ["system"] as const,
  history: ["policies", "history"] as const,
  version: (number: number) => ["policies", number] as const,
  alerts: (run: string) => ["runs", run, "alerts"] as const,
  samples: (run: string) => ["runs", run, "samples"] as const,
  log: (run: string, stage: string) => ["runs", run, "log", stage] as const,
  schedule: ["schedule"] as const,
  plan: ["plan"] as const,
  planData: ["plan", "data"] as const,
  whoseVotes: ["whose-votes"] as const,
  statistics: ["statistics"] as const,
};

export const consoleQueries = {
  people: queryOptions({
    queryKey: consoleKeys.people,
    queryFn: () => call<Items<Person>>("GET", at`accounts`),
  }),
  invites: queryOptions({
    queryKey: consoleKeys.invites,
    queryFn: () => call<Items<Invite>>("GET", at`invites`),
  }),
  keys: (everybody: boolean) =>
    queryOptions({
      queryKey: [...consoleKeys.keys, everybody],
      queryFn: () => call<Items<Key>>("GET", at`keys` + search({ everybody: everybody ? "true" : "" })),
    }),
  sessions: queryOptions({
    queryKey: consoleKeys.sessions,
    queryFn: () => call<Items<Session>>("GET", at`sessions`),
  }),
  system: queryOptions({
    queryKey: consoleKeys.system,
    queryFn: () => call<System>("GET", at`system`),
    refetchInterval: 5000,
  }),
  history: queryOptions({
    queryKey: consoleKeys.history,
    queryFn: () => call<{ canaries: CanarySpan[] }>("GET", at`policies/history`),
  }),
  version: (number: number) =>
    queryOptions({
      queryKey: consoleKeys.version(number),
      queryFn: () => call<Version>("GET", at`policies/${number}`),
    }),
  said: (number: number) =>
    queryOptions({
      queryKey: [...consoleKeys.version(number), "samples"],
      queryFn: () => call<Items<Schemas["SaidOut"]>>("GET", at`policies/${number}/samples`),
      staleTime: 60_000,
    }),
  alerts: (run: string) =>
    queryOptions({
      queryKey: consoleKeys.alerts(run),
      queryFn: () => call<Items<Alert>>("GET", at`runs/${run}/alerts`),
      enabled: run !== "",
    }),
  samples: (run: string) =>
    queryOptions({
      queryKey: consoleKeys.samples(run),
      queryFn: () => call<Schemas["SamplePage"]>("GET", at`runs/${run}/samples`),
      enabled: run !== "",
    }),
  log: (run: string, stage: string) =>
    queryOptions({
      queryKey: consoleKeys.log(run, stage),
      queryFn: () => call<Log>("GET", `${at`runs/${run}/log`}?stage=${stage}`),
      retry: false,
    }),
  schedule: queryOptions({
    queryKey: consoleKeys.schedule,
    queryFn: () => call<Schedule>("GET", at`schedule`),
    // Until a tick has seen changed rules there is no outlook; it comes within seconds.
    refetchInterval: ({ state }) => (state.data && !state.data.outlook ? 3000 : 30_000),
  }),
  plan: (options: RunOptions) =>
    queryOptions({
      queryKey: [...consoleKeys.plan, options],
      queryFn: () => call<Plan>("POST", at`plan`, options),
      staleTime: 0,
      placeholderData: keepPreviousData,
      retry: false,
    }),
  planData: queryOptions({
    queryKey: consoleKeys.planData,
    queryFn: () => call<DataPlan>("GET", at`plan/data`),
    staleTime: 0,
  }),
  whoseVotes: (run: string) =>
    queryOptions({
      queryKey: [...consoleKeys.whoseVotes, run],
      queryFn: () => call<WhoseVotes>("GET", at`runs/${run}/annotators`),
    }),
};
