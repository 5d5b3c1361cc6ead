/** The API's shapes, as `npm run types` writes them from openapi.json. */

type DateTime = string;

export interface components {
  schemas: {
    AccountOut: { id: string; name: string; role: "admin" | "annotator" };
    ConversationOut: {
      id: string;
      title: string;
      system_prompt: string | null;
      leaf_id: string | null;
      created_at: DateTime;
      updated_at: DateTime;
    };
    MessageOut: { id: string; parent_id: string | null; text: string; created_at: DateTime };
    AnswerOut: {
      id: string;
      parent_id: string;
      duel_id: string | null;
      side: "a" | "b" | null;
      state: "streaming" | "finished" | "stopped" | "failed";
      text: string;
      finish_reason: string | null;
      error: string | null;
      created_at: DateTime;
      policy_version: number | null;
      stream: string | null;
      thumb: "up" | "down" | null;
    };
    DuelOut: {
      id: string;
      parent_id: string;
      answer_a: string;
      answer_b: string;
      ready: boolean;
      vote: { choice: "a" | "b" | "tie" | "both_bad" } | null;
      version_a: number | null;
      version_b: number | null;
    };
    ConversationTree: {
      conversation: components["schemas"]["ConversationOut"];
      messages: components["schemas"]["MessageOut"][];
      answers: components["schemas"]["AnswerOut"][];
      duels: components["schemas"]["DuelOut"][];
    };
    TurnOut: {
      message: components["schemas"]["MessageOut"];
      answers: components["schemas"]["AnswerOut"][];
      duel: components["schemas"]["DuelOut"] | null;
      stream: string;
    };
    VoteOut: {
      id: string;
      kind: "duel" | "thumb";
      duel_id: string | null;
      answer_id: string | null;
      choice: string;
      created_at: DateTime;
    };
    CastOut: {
      vote: components["schemas"]["VoteOut"];
      pending: number;
      min_votes: number;
      reveal: { version_a: number; version_b: number } | null;
    };
    GateCheck: { name: string; value: number; threshold: number; passed: boolean; reason: string };
    GateReport: { passed: boolean; checks: components["schemas"]["GateCheck"][] };
    PolicyVersion: {
      number: number;
      parent: number | null;
      run_id: string | null;
      reward_model: number | null;
      folder: string;
      sha256: string;
      state: "candidate" | "canary" | "active" | "retired" | "rejected" | "rolled_back";
      reason: string | null;
      report: components["schemas"]["GateReport"] | null;
      metrics: Record<string, number>;
      created_at: DateTime;
    };
    Activation: { number: number; previous: number | null; actor: string; reason: string; at: DateTime };
    PolicyPage: {
      items: components["schemas"]["PolicyVersion"][];
      active: number | null;
      previous: number | null;
      timeline: components["schemas"]["Activation"][];
    };
    StageStatus: {
      stage: "freeze" | "reward" | "ppo" | "gate" | "release";
      state: "waiting" | "running" | "done" | "failed" | "skipped";
      started_at: DateTime | null;
      ended_at: DateTime | null;
      summary: Record<string, unknown>;
    };
    Run: {
      id: string;
      state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
      requested_by: string;
      stages: components["schemas"]["StageStatus"][];
      attempt: number;
      cancel_requested: boolean;
      version: number | null;
      error: string | null;
      created_at: DateTime;
      started_at: DateTime | null;
      ended_at: DateTime | null;
    };
    MetricRow: {
      run_id: string;
      stage: components["schemas"]["StageStatus"]["stage"];
      step: number;
      of: number | null;
      values: Record<string, number>;
      at: DateTime;
    };
    EngineStatus: {
      name: string;
      address: string;
      state: "starting" | "ready" | "loading" | "down" | "failed";
      version: number | null;
      in_flight: number;
      error: string | null;
      seen_at: DateTime;
    };
    StatusOut: {
      active: { number: number; since: DateTime | null } | null;
      previous: number | null;
      serving: Record<string, number>;
      engines: components["schemas"]["EngineStatus"][];
      votes: { total: number; pending: number; min_votes: number };
      run: components["schemas"]["Run"] | null;
      warnings: string[];
    };
  };
}
