/** What is done to numbers before they are drawn, and where versions stand. */
import { describe, expect, it } from "vitest";
import type { PolicyVersion } from "../src/api";
import { csvOf, joined, positions, smooth, tokensSoFar } from "../src/charts/draw";
import { Series } from "../src/charts/series";
import { along } from "../src/views/admin/details";
import { accuracies, wilson } from "../src/views/admin/tiles";
import { pairOf } from "../src/views/console/statistics";
import { bars, place } from "../src/views/versions/layout";
import { stepsDone } from "../src/views/versions/rollback";

const column = { steps: [1, 2, 3], seconds: [0, 10, 20], values: [4, 8, 6] };

describe("curves", () => {
  it("smooths without pulling the start towards zero", () => {
    expect(smooth([4, 8, 6], 0)).toEqual([4, 8, 6]);
    // 0.5: 4; (0.5*2 + 0.5*8) / 0.75 = 6.667; (0.5*5 + 0.5*6) / 0.875 = 6.286
    const [first, second, third] = smooth([4, 8, 6], 0.5) as [number, number, number];
    expect(first).toBeCloseTo(4);
    expect(second).toBeCloseTo(6.667, 3);
    expect(third).toBeCloseTo(6.286, 3);
  });

  it("stands points by step, time or tokens", () => {
    const tokens = tokensSoFar({ ...column, values: [10, 20, 30] }, 32);
    expect(positions(column, "step", tokens)).toEqual([1, 2, 3]);
    expect(positions(column, "time", tokens)).toEqual([0, 10, 20]);
    expect(positions(column, "tokens", tokens)).toEqual([320, 960, 1920]);
  });

  it("joins lines of different runs on one axis", () => {
    expect(
      joined([
        { x: [1, 3], y: [4, 6] },
        { x: [2, 3], y: [7, 8] },
      ]),
    ).toEqual([
      [1, 2, 3],
      [4, null, 6],
      [null, 7, 8],
    ]);
  });

  it("exports what was measured, unsmoothed", () => {
    expect(csvOf("reward", column)).toBe("step,seconds,reward\n1,0,4\n2,10,8\n3,20,6");
  });

  it("takes ten thousand rows in a blink, each step once", () => {
    const series = new Series();
    const rows = Array.from({ length: 10_000 }, (_, index) => ({
      run_id: "r", stage: "ppo" as const, step: index + 1, of: null, values: { reward_mean: index }, at: "2026-01-01T00:00:00Z",
    })); // biome-ignore format: a row
    const began = performance.now();
    series.add(rows);
    series.add(rows.slice(9_000));
    expect(series.column("r", "ppo", "reward_mean").steps).toHaveLength(10_000);
    expect(series.names("r", "ppo")).toEqual(["reward_mean"]);
    expect(performance.now() - began).toBeLessThan(1000);
  });
});

const version = (number: number, parent: number | null, state: PolicyVersion["state"]) =>
  ({ number, parent, state }) as PolicyVersion;

describe("lineage", () => {
  it("keeps what went live in one lane and sets what was held back beside it", () => {
    const placed = place([
      version(1, null, "retired"),
      version(2, 1, "retired"),
      version(3, 2, "rejected"),
      version(4, 2, "active"),
      version(5, 4, "candidate"),
    ]);
    expect(placed.map((one) => [one.version.number, one.lane])).toEqual([
      [5, 1],
      [4, 0],
      [3, 1],
      [2, 0],
      [1, 0],
    ]);
  });

  it("draws canaries beside what was live at the same time", () => {
    const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
    const line = (number: number, minute: number) => ({
      number,
      previous: null,
      actor: "",
      reason: "",
      at: at(minute),
    });
    const steps = [0.05, 0.1].map((share) => ({ share, at: at(20), actor: "ann", reason: "careful" }));
    const canary = {
      ...{ number: 3, share: 0.1, started_at: at(20), ended_at: at(30), outcome: "stopped" },
      ...{ steps, ended_by: "heed", reason: "undecided at the limit" },
    };
    const drawn = bars([line(2, 10), line(1, 0)], [canary], Date.parse(at(40)));
    const live = drawn.find((bar) => bar.number === 2);
    const beside = drawn.find((bar) => bar.kind === "canary");
    if (!live || !beside) throw new Error("bars are missing");
    expect(beside.top).toBeGreaterThan(live.top);
    expect(beside.top + beside.height).toBeLessThan(live.top + live.height);
    expect(drawn.find((bar) => bar.number === 1)?.top).toBeCloseTo(live.top + live.height);
  });
});

describe("rollback", () => {
  const engine = (number: number | null, in_flight = 0) => ({ version: number, state: "ready", in_flight });
  const seen = (active: number, engines: object[], serving: Record<string, number>) =>
    stepsDone({ active: { number: active }, engines, serving } as never, 2, 1);
  it("counts its steps by what engines and servers report", () => {
    expect(seen(2, [engine(2)], { host: 2 })).toBe(0);
    expect(seen(1, [engine(2)], { host: 2 })).toBe(1);
    expect(seen(1, [engine(2), engine(1)], { host: 2 })).toBe(2);
    expect(seen(1, [engine(2, 3), engine(1)], { host: 1 })).toBe(3);
    expect(seen(1, [engine(2), engine(1)], { host: 1 })).toBe(4);
  });
});

describe("numbers at a glance", () => {
  it("has Wilson's interval", () => {
    // 8 of 10: 0.490 to 0.943 (Wilson 1927; also statsmodels' proportion_confint)
    const [low, high] = wilson(0.8, 10);
    expect(low).toBeCloseTo(0.49, 2);
    expect(high).toBeCloseTo(0.943, 2);
  });

  it("reads the accuracies that trainings measured, oldest first", () => {
    const run = (held: number | undefined) => ({
      stages: [{ stage: "reward", summary: { held_out_accuracy: held } }],
      snapshot: { held_out_pairs: 14 },
    });
    expect(accuracies([run(0.7), run(undefined), run(0.6)] as never).map((one) => one.held)).toEqual([
      0.6, 0.7,
    ]);
  });

  it("turns a pair round to the version that is asked for", () => {
    const pair = {
      a: 1,
      b: 2,
      wins_a: 3,
      ties: 1,
      wins_b: 6,
      both_bad: 0,
      rate: 0.35,
      low: 0.2,
      high: 0.5,
      n: 10,
      annotators: 3,
      interval: "wilson" as const,
    };
    expect(pairOf([pair], 2, 1)).toMatchObject({
      wins_a: 6,
      wins_b: 3,
      rate: 0.65,
      low: 0.5,
      high: 0.8,
      n: 10,
    });
    expect(pairOf([pair], 1, 3)).toBeUndefined();
  });

  it("picks four answers along a training", () => {
    expect(along([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])).toEqual([0, 3, 6, 9]);
    expect(along([7])).toEqual([7]);
  });
});
