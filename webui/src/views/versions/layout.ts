/** Where things stand: lanes of the lineage, and the times of the serving timeline as pixels. */
import type { Activation, PolicyVersion } from "../../api";
import type { CanarySpan } from "../console/calls";

export interface Placed {
  version: PolicyVersion;
  lane: number;
  row: number;
}

const wentLive = (version: PolicyVersion) => ["active", "retired", "rolled_back"].includes(version.state);

/** One row a version, the newest on top; a child that went live goes on in its parent's lane, others step aside. */
export function place(versions: readonly PolicyVersion[]): Placed[] {
  const oldestFirst = [...versions].sort((a, b) => a.number - b.number);
  const lanes = new Map<number, number>();
  const heirs = new Map<number, number>();
  for (const version of oldestFirst) {
    if (version.parent == null) continue;
    const heir = oldestFirst.find((one) => one.number === heirs.get(version.parent as number));
    if (!heir || (!wentLive(heir) && wentLive(version))) heirs.set(version.parent, version.number);
  }
  for (const version of oldestFirst) {
    const parent = version.parent == null ? undefined : lanes.get(version.parent);
    const isHeir = version.parent != null && heirs.get(version.parent) === version.number;
    if (parent === undefined) lanes.set(version.number, 0);
    else lanes.set(version.number, isHeir && (wentLive(version) || parent > 0) ? parent : parent + 1);
  }
  return oldestFirst
    .reverse()
    .map((version, row) => ({ version, row, lane: Math.min(3, lanes.get(version.number) ?? 0) }));
}

export interface Bar {
  number: number;
  kind: "live" | "canary";
  from: number;
  to: number;
  /** It has not ended. */
  open: boolean;
  /** What a person is told when they point at it. */
  reason: string;
  /** Of a canary: what it had, one after another. */
  shares?: number[];
  top: number;
  height: number;
}

const SHORTEST_PX = 30;
const LONGEST_PX = 110;

/**
 * Bars from the newest on top: what was live, and beside it what was a canary at the same time. Height grows with
 * time, but between two events it stays readable: a week does not push a minute out of sight.
 */
export function bars(timeline: readonly Activation[], canaries: readonly CanarySpan[], now: number): Bar[] {
  // A clock that is behind, or an event after the page was opened: the newest event is "now" then.
  const seen = [
    ...timeline.map((line) => line.at),
    ...canaries.flatMap((one) => [one.started_at, one.ended_at ?? ""]),
  ];
  const end = seen.reduce((latest, at) => Math.max(latest, Date.parse(at) || 0), now);
  const lines = [...timeline].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const spans: Omit<Bar, "top" | "height">[] = lines.map((line, index) => ({
    number: line.number,
    kind: "live",
    from: Date.parse(line.at),
    to: index + 1 < lines.length ? Date.parse((lines[index + 1] as Activation).at) : end,
    open: index + 1 === lines.length,
    reason: line.reason,
  }));
  for (const canary of canaries)
    spans.push({
      number: canary.number,
      kind: "canary",
      from: Date.parse(canary.started_at),
      to: canary.ended_at ? Date.parse(canary.ended_at) : end,
      open: canary.ended_at === null,
      reason: canary.reason ?? canary.outcome ?? "",
      shares: canary.steps.map((step) => step.share),
    });
  const times = [...new Set(spans.flatMap((span) => [span.from, span.to]))].sort((a, b) => b - a);
  const longest = Math.max(1, ...times.slice(1).map((time, index) => (times[index] as number) - time));
  const tops = new Map<number, number>();
  let top = 0;
  times.forEach((time, index) => {
    if (index > 0) {
      const gap = (times[index - 1] as number) - time;
      top += Math.max(SHORTEST_PX, (gap / longest) * LONGEST_PX);
    }
    tops.set(time, top);
  });
  return spans.map((span) => {
    const from = tops.get(span.to) ?? 0;
    return { ...span, top: from, height: Math.max(SHORTEST_PX, (tops.get(span.from) ?? 0) - from) };
  });
}
