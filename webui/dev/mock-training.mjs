/** A retrain that only looks like one: stages and numbers appear over half a minute. Development only. */

const STAGES = ["freeze", "reward", "ppo", "gate", "release"];
const now = () => new Date().toISOString();

export function newRun(by) {
  return {
    id: `run_${Math.random().toString(16).slice(2, 10)}`,
    state: "queued",
    requested_by: by,
    attempt: 1,
    token: 1,
    owner: null,
    cancel_requested: false,
    config: {},
    snapshot: null,
    version: null,
    error: null,
    created_at: now(),
    started_at: null,
    ended_at: null,
    stages: STAGES.map((stage) => ({
      stage,
      state: "waiting",
      started_at: null,
      ended_at: null,
      summary: {},
    })),
  };
}

/** The numbers of one step, alike for live runs and those of the past. */
export function valuesAt(stage, step, of) {
  const t = step / of;
  const noise = (size) => ((Math.sin(step * 12.9898) * 43758.5453) % 1) * size;
  if (stage === "reward")
    return { loss: 0.69 - 0.16 * t + noise(0.02), accuracy: 0.5 + 0.21 * t + noise(0.03), margin: t };
  return {
    reward_mean: -0.2 + 1.1 * (1 - Math.exp(-3 * t)) + noise(0.08),
    ref_kl: 8 * t ** 1.3 + Math.abs(noise(0.4)),
    response_length_mean: 92 + 14 * t + noise(5),
    perplexity: 9.2 + 0.5 * t + noise(0.2),
    entropy: 2.1 - 0.3 * t,
  };
}

export function pastMetrics(runId, at) {
  return ["reward", "ppo"].flatMap((stage) => {
    const of = stage === "reward" ? 30 : 40;
    return Array.from({ length: of }, (_, index) => ({
      run_id: runId,
      stage,
      step: index + 1,
      of,
      values: valuesAt(stage, index + 1, of),
      at,
      id: `${index + 1}-0`,
    }));
  });
}

/** Plays a run to its end. `tell(event, data)` feeds the admin page; `metrics` collects the rows. */
export async function play(run, tell, metrics, speed) {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms / speed));
  const cancelled = () => {
    if (!run.cancel_requested) return false;
    for (const stage of run.stages)
      if (stage.state !== "done") Object.assign(stage, { state: "skipped", ended_at: now() });
    Object.assign(run, { state: "cancelled", ended_at: now() });
    tell("run", run);
    return true;
  };
  const stage = (name, changes) => {
    Object.assign(
      run.stages.find((one) => one.stage === name),
      changes,
    );
    tell("run", run);
  };
  await wait(600);
  Object.assign(run, { state: "running", started_at: now() });
  stage("freeze", { state: "running", started_at: now() });
  await wait(1200);
  stage("freeze", {
    state: "done",
    ended_at: now(),
    summary: { votes: 144, new_votes: 13, train_pairs: 117, held_out_pairs: 14 },
  });
  for (const [name, of, summary] of [
    ["reward", 30, { held_out_accuracy: 0.71, loss: 0.53 }],
    ["ppo", 40, { steps: 40, reward_mean: 0.91, ref_kl: 8.1 }],
  ]) {
    stage(name, { state: "running", started_at: now() });
    for (let step = 1; step <= of; step++) {
      await wait(180);
      if (cancelled()) return false;
      const row = { run_id: run.id, stage: name, step, of, values: valuesAt(name, step, of), at: now() };
      metrics.push({ ...row, id: `${Date.now()}-${step}` });
      tell("metric", row);
    }
    stage(name, { state: "done", ended_at: now(), summary });
  }
  stage("gate", { state: "running", started_at: now() });
  await wait(1500);
  stage("gate", { state: "done", ended_at: now(), summary: { passed: true } });
  stage("release", { state: "running", started_at: now() });
  await wait(1000);
  run.version = 4;
  Object.assign(run, { state: "succeeded", ended_at: now() });
  stage("release", { state: "done", ended_at: now(), summary: { version: 4 } });
  return true;
}
