/** The numbers of training runs, outside React: rows come by fetch and by event, each step counts once. */
import { useSyncExternalStore } from "react";
import type { MetricRow, Stage } from "../api";

export interface Column {
  readonly steps: number[];
  readonly values: number[];
}
const EMPTY: Column = { steps: [], values: [] };

export class Series {
  private readonly runs = new Map<string, Map<number, MetricRow["values"]>>();
  private readonly columns = new Map<string, Column>();
  private readonly newest = new Map<string, string>();
  private readonly listeners = new Set<() => void>();
  private told = false;

  /** Takes rows in any order; a step that comes again (an event after the fetch, a new attempt) replaces itself. */
  add(rows: readonly MetricRow[]): void {
    for (const { run_id, stage, step, of, values } of rows) {
      const key = `${run_id} ${stage}`;
      this.newest.set(key, of == null ? `${step}` : `${step}/${of}`);
      const steps = this.runs.get(key) ?? new Map<number, MetricRow["values"]>();
      this.runs.set(key, steps);
      // A new attempt begins anew: what the broken one had beyond this step is not its future.
      if (step === Math.min(step, ...steps.keys()) && steps.has(step)) steps.clear();
      steps.set(step, values);
      for (const name of Object.keys(values)) this.columns.delete(`${key} ${name}`);
    }
    if (rows.length === 0 || this.told) return;
    this.told = true;
    const tell = () => {
      this.told = false;
      for (const listener of this.listeners) listener();
    };
    if (document.hidden) setTimeout(tell, 500);
    else requestAnimationFrame(tell);
  }

  /** One metric of one stage in order of steps; the same object until something in it changes. */
  column(run: string, stage: Stage, name: string): Column {
    const steps = this.runs.get(`${run} ${stage}`);
    if (!steps) return EMPTY;
    const key = `${run} ${stage} ${name}`;
    const known = this.columns.get(key);
    if (known) return known;
    const pairs = [...steps].filter(([, values]) => Number.isFinite(values[name])).sort(([a], [b]) => a - b);
    const column = {
      steps: pairs.map(([step]) => step),
      values: pairs.map(([, values]) => values[name] as number),
    };
    this.columns.set(key, column);
    return column;
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
