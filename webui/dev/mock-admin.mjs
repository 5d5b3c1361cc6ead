/** The mock server's runs, versions and status. Development only. */
import { db, empty, MIN_VOTES, now, Refusal, SPEED, tell } from "./mock-state.mjs";
import { newRun, play } from "./mock-training.mjs";

const active = () => db.versions.find((one) => one.state === "active") ?? null;
const openRun = () => db.runs.find((one) => one.state === "queued" || one.state === "running") ?? null;

function requestRun() {
  if (openRun()) throw new Refusal(409, "run_open", "a run is queued or running");
  const run = newRun(db.account.id);
  const metrics = [];
  db.runs.unshift(run);
  db.metrics.set(run.id, metrics);
  tell("run", run);
  void play(run, tell, metrics, SPEED).then((released) => {
    if (!released) return;
    db.pending = 0;
    const before = active();
    before.state = "retired";
    db.versions.push({
      ...structuredClone(before),
      number: 4,
      parent: 2,
      reward_model: 4,
      run_id: run.id,
      state: "active",
      created_at: now(),
    });
    db.timeline.unshift({ number: 4, previous: 2, actor: "release", reason: "the gate passed", at: now() });
    tell("policy", active());
  });
  return run;
}

function rollBack(reason) {
  const line = db.timeline[0];
  if (!line?.previous) throw new Refusal(409, "cannot_roll_back", "there is no earlier version");
  db.versions.find((one) => one.number === line.number).state = "rolled_back";
  db.versions.find((one) => one.number === line.previous).state = "active";
  const activation = {
    number: line.previous,
    previous: line.number,
    actor: db.account.id,
    reason,
    at: now(),
  };
  db.timeline.unshift(activation);
  tell("policy", active());
  return activation;
}

const previousNumber = () =>
  active() && db.timeline[0]?.previous && db.timeline[0].actor !== db.account?.id
    ? db.timeline[0].previous
    : null;

function status() {
  const seen_at = now();
  const engine = (name, version) => ({
    name,
    address: `${name}.sock`,
    state: "ready",
    version,
    in_flight: 0,
    error: null,
    seen_at,
  });
  return {
    active: active() && { number: active().number, since: db.timeline[0].at },
    previous: previousNumber(),
    serving: {},
    run: openRun(),
    warnings: [],
    canary: db.canary,
    paused: db.paused,
    engines: empty ? [] : [engine("engine-1", active()?.number ?? 1), engine("engine-2", 1)],
    votes: { total: db.total, pending: db.pending, min_votes: MIN_VOTES },
  };
}

export const ADMIN_ROUTES = [
  ["GET", /^status$/, () => [200, status()]],
  ["GET", /^runs$/, () => [200, { items: db.runs }]],
  ["POST", /^runs$/, () => [201, requestRun()]],
  ["GET", /^runs\/([^/]+)$/, ([id]) => [200, db.runs.find((one) => one.id === id)]],
  ["GET", /^runs\/([^/]+)\/metrics$/, ([id]) => [200, { items: db.metrics.get(id) ?? [] }]],
  [
    "POST",
    /^runs\/([^/]+)\/cancel$/,
    ([id]) => {
      const run = db.runs.find((one) => one.id === id);
      run.cancel_requested = true;
      tell("run", run);
      return [202, run];
    },
  ],
  [
    "GET",
    /^policies$/,
    () => [
      200,
      {
        items: db.versions,
        active: active()?.number ?? null,
        previous: previousNumber(),
        canary: db.canary,
        timeline: db.timeline,
      },
    ],
  ],
  ["POST", /^policies\/rollback$/, (_, body) => [200, rollBack(body.reason)]],
];
