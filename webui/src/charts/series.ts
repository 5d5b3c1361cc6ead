/** The numbers of training runs, outside React: rows come by fetch and by event, each step counts once. */
import { useSyncExternalStore } from "react";
import type { MetricRow, Stage } from "../api";

export interface Column {
  readonly steps: number[];
  /** Seconds since the stage's first row. */
  readonly seconds: number[];
  readonly values: number[];
}
const EMPTY: Column = { steps: [], seconds: [], values: [] };

interface Point {
  values: MetricRow["values"];
  at: number;
}

const NONE: readonly string[] = [];

export class Series {
  private readonly runs = new Map<string, Map<number, Point>>();
  private readonly columns = new Map<string, Column>();
  private readonly first = new Map<string, number>();
  private readonly known = new Map<string, string[]>();
  private readonly newest = new Map<string, string>();
  private readonly listeners = new Set<() => void>();
  private told = false;

  /** Takes rows in any order; a step that comes again (an event after the fetch, a new attempt) replaces itself. */
  add(rows: readonly MetricRow[]): void {
    for (const { run_id, stage, step, of, values, at } of rows) {
      const key = `${run_id} ${stage}`;
      this.newest.set(key, of == null ? `${step}` : `${step}/${of}`);
      const steps = this.runs.get(key) ?? new Map<number, Point>();
      this.runs.set(key, steps);
      // A new attempt begins anew: what the broken one had beyond this step is not its future.
      if (step === this.first.get(key) && steps.has(step)) steps.clear();
      this.first.set(key, Math.min(step, this.first.get(key) ?? step));
      steps.set(step, { values, at: Date.parse(at) });
      for (const name of Object.keys(values)) this.columns.delete(`${key} ${name}`);
      if (!this.known.has(key)) this.known.set(key, []);
      const names = this.known.get(key) as string[];
      const fresh = Object.keys(values).filter((name) => !names.includes(name));
      if (fresh.length > 0) this.known.set(key, [...names, ...fresh]);
    }
    if (rows.length === 0 || this.told) return;
    this.told = true;
    const tell = () => {
      this.told = false;
      for (const listener of this.listeners) listener();
    };
    // A hidden tab draws nothing; what came meanwhile is drawn at once when it is looked at.
    if (document.hidden) document.addEventListener("visibilitychange", tell, { once: true });
    else requestAnimationFrame(tell);
  }

  /** One metric of one stage in order of steps; the same object until something in it changes. */
  column(run: string, stage: Stage, name: string): Column {
    const steps = this.runs.get(`${run} ${stage}`);
    if (!steps) return EMPTY;
    const key = `${run} ${stage} ${name}`;
    const known = this.columns.get(key);
    if (known) return known;
    const rows = [...steps].sort(([a], [b]) => a - b);
    const began = rows.reduce((first, [, point]) => Math.min(first, point.at), Number.POSITIVE_INFINITY);
    const given = rows.filter(([, point]) => Number.isFinite(point.values[name]));
    const column = {
      steps: given.map(([step]) => step),
      seconds: given.map(([, point]) => (point.at - began) / 1000),
      values: given.map(([, point]) => point.values[name] as number),
    };
    this.columns.set(key, column);
    return column;
  }

  /** Names of what the stage reported, in the order in which they came; the same list until one is new. */
  names(run: string, stage: Stage): readonly string[] {
    return this.known.get(`${run} ${stage}`) ?? NONE;
  }

  /** How far a stage is, as "12/40", or "" while it has no numbers. */
  progress(run: string, stage: Stage): string {
    return this.newest.get(`${run} ${stage}`) ?? "";
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

export const series = new Series();

export function useColumn(run: string, stage: Stage, name: string): Column {
  return useSyncExternalStore(series.subscribe, () => series.column(run, stage, name));
}

export function useProgress(run: string, stage: Stage): string {
  return useSyncExternalStore(series.subscribe, () => series.progress(run, stage));
}

export function useNames(run: string, stage: Stage): readonly string[] {
  return useSyncExternalStore(series.subscribe, () => series.names(run, stage));
}
