/** What is done to numbers before they are drawn: smoothing, the x axis, several lines on one axis. */
import type { Column } from "./series";

export type Across = "step" | "time" | "tokens";

/** Exponential moving average with the start's bias removed, as TensorBoard draws it; 0 is the raw line. */
export function smooth(values: readonly number[], weight: number): number[] {
  if (weight <= 0) return [...values];
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    sum = sum * weight + (1 - weight) * value;
    norm = norm * weight + (1 - weight);
    return sum / norm;
  });
}

/** Where the points stand: by step, by seconds, or by tokens so far. */
export function positions(column: Column, across: Across, tokens: ReadonlyMap<number, number>): number[] {
  if (across === "time") return column.seconds;
  if (across === "tokens") return column.steps.map((step) => tokens.get(step) ?? step);
  return column.steps;
}

/** Tokens that the policy had answered after each step: the mean length of the answers times their number. */
export function tokensSoFar(lengths: Column, rollouts: number): Map<number, number> {
  const tokens = new Map<number, number>();
  let sum = 0;
  lengths.steps.forEach((step, index) => {
    sum += (lengths.values[index] as number) * rollouts;
    tokens.set(step, sum);
  });
  return tokens;
}

export interface Line {
  x: readonly number[];
  y: readonly number[];
}

/** Lines with different x values as uPlot takes them: one x axis, null where a line has no point. */
export function joined(lines: readonly Line[]): [number[], ...(number | null)[][]] {
  const all = [...new Set(lines.flatMap((line) => [...line.x]))].sort((a, b) => a - b);
  const place = new Map(all.map((x, index) => [x, index]));
  const columns = lines.map((line) => {
    const column = new Array<number | null>(all.length).fill(null);
    line.x.forEach((x, index) => {
      column[place.get(x) as number] = line.y[index] as number;
    });
    return column;
  });
  return [all, ...columns];
}

/** Comma-separated values of a chart: a row for each step. */
export function csvOf(name: string, column: Column): string {
  const rows = column.steps.map((step, index) => `${step},${column.seconds[index]},${column.values[index]}`);
  return [`step,seconds,${name}`, ...rows].join("\n");
}
