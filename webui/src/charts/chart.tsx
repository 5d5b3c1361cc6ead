/** One curve with its name and latest value; the same numbers as a table for who does not see lines. */
import { useEffect, useMemo, useRef, useState } from "react";
import type { Stage } from "../api";
import { formatNumber } from "../format";
import { useLanguage } from "../texts";
import { useConsole, useTexts } from "../texts/console";
import { useShownTheme } from "../theme";
import { type Across, csvOf, positions, smooth } from "./draw";
import { type Drawing, makePlot, type Plot } from "./plot";
import { type Column, series, useColumn } from "./series";

/** How every chart of the page is drawn. */
export interface View {
  across: Across;
  /** 0 is raw; towards 1 smoother. */
  smoothing: number;
  log: boolean;
  /** Earlier runs, drawn faintly behind. */
  ghosts: readonly string[];
  /** Steps at which the trainer warned. */
  marks: readonly number[];
  /** Step -> tokens answered so far. */
  tokens: ReadonlyMap<number, number>;
}

interface Props {
  run: string;
  stage: Stage;
  metric: string;
  view: View;
}

export function Chart({ run, stage, metric, view }: Props) {
  const texts = useTexts().admin.curves;
  const words = useConsole().training;
  const language = useLanguage();
  const column = useColumn(run, stage, metric);
  const [asTable, setAsTable] = useState(false);
  const plot = useRef<Plot | null>(null);
  const name =
    (texts.names as Record<string, string>)[metric] ?? words.metrics[metric] ?? metric.replaceAll("_", " ");
  const unit = (texts.units as Record<string, string>)[metric] ?? "";
  const said = (value: number | undefined) => (value === undefined ? "" : formatNumber(value, language));
  const last = column.values.at(-1);
  const summary = texts.summary(
    name,
    said(column.values[0]),
    said(last),
    said(column.values.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY)),
    said(column.values.reduce((high, value) => Math.max(high, value), Number.NEGATIVE_INFINITY)),
    column.steps.length,
  );
  return (
    <figure
      className="card flex min-w-0 flex-col p-3"
      data-testid={`chart-${metric}`}
      data-steps={column.steps.length}
    >
      <figcaption className="flex items-baseline gap-1">
        <span className="truncate font-semibold" title={name}>
          {name}
        </span>
        <span className="flex-1" />
        <span className="whitespace-nowrap">
          <span className="font-semibold tabular-nums">{said(last)}</span>{" "}
          <span className="text-[0.82rem] text-muted">{unit}</span>
        </span>
        <button
          type="button"
          className="icon-btn h-6 min-w-6 self-center px-1 text-[0.8rem]"
          aria-pressed={asTable}
          aria-label={texts.asTable(name)}
          onClick={() => setAsTable(!asTable)}
        >
          {asTable ? texts.chart : texts.table}
        </button>
        {column.steps.length > 0 && (
          <>
            {!asTable && (
              <button
                type="button"
                className="icon-btn h-6 min-w-6 self-center px-1 text-[0.8rem]"
                aria-label={`${words.export(name)}, PNG`}
                onClick={() => plot.current && download(plot.current.picture(), `${metric}.png`)}
              >
                PNG
              </button>
            )}
            <button
              type="button"
              className="icon-btn h-6 min-w-6 self-center px-1 text-[0.8rem]"
              aria-label={`${words.export(name)}, CSV`}
              onClick={() => downloadText(csvOf(metric, column), `${run}-${metric}.csv`)}
            >
              CSV
            </button>
          </>
        )}
      </figcaption>
      {column.steps.length === 0 ? (
        <p className="grid h-37.5 place-items-center text-[0.9rem] text-muted">{texts.waiting}</p>
      ) : asTable ? (
        <StepTable column={column} name={name} said={said} />
      ) : (
        <Lines stage={stage} metric={metric} column={column} view={view} summary={summary} plot={plot} />
      )}
    </figure>
  );
}

function download(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

function downloadText(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  download(url, name);
  URL.revokeObjectURL(url);
}

interface LinesProps {
  stage: Stage;
  metric: string;
  column: Column;
  view: View;
  summary: string;
  plot: { current: Plot | null };
}

function Lines({ stage, metric, column, view, summary, plot }: LinesProps) {
  const language = useLanguage();
  const theme = useShownTheme();
  const box = useRef<HTMLDivElement>(null);
  const drawing = useMemo((): Drawing => {
    const x = positions(column, view.across, view.tokens);
    const ghosts = view.ghosts.map((run) => {
      const earlier = series.column(run, stage, metric);
      return { x: positions(earlier, view.across, view.tokens), y: smooth(earlier.values, view.smoothing) };
    });
    const marked = column.steps.flatMap((step, index) =>
      view.marks.includes(step) ? [x[index] as number] : [],
    );
    return {
      main: { x, y: smooth(column.values, view.smoothing) },
      raw: view.smoothing > 0 ? { x, y: column.values } : null,
      ghosts,
      marks: marked,
    };
  }, [column, view, stage, metric]);
  const latest = useRef(drawing);
  latest.current = drawing;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a canvas keeps its colours, so another theme is another plot
  useEffect(() => {
    if (!box.current) return;
    plot.current = makePlot(box.current, (value) => formatNumber(value, language), view.log);
    plot.current.draw(latest.current);
    return () => {
      plot.current?.destroy();
      plot.current = null;
    };
  }, [theme, language, view.log]);
  useEffect(() => plot.current?.draw(drawing), [drawing, plot]);
  return <div ref={box} role="img" aria-label={summary} className="mt-1 min-h-37.5 overflow-hidden" />;
}

interface TableProps {
  column: Column;
  name: string;
  said: (value: number) => string;
}

function StepTable({ column, name, said }: TableProps) {
  const texts = useTexts().admin.curves;
  return (
    <div className="relative mt-1 h-37.5 overflow-y-auto" tabIndex={0} role="group" aria-label={name}>
      <table className="w-full text-[0.88rem]">
        <thead>
          <tr>
            <th scope="col" className="text-left font-medium text-muted">
              {texts.step}
            </th>
            <th scope="col" className="text-right font-medium text-muted">
              {name}
            </th>
          </tr>
        </thead>
        <tbody>
          {column.steps.map((step, index) => (
            <tr key={step} className="border-t border-line">
              <td>{step}</td>
              <td className="text-right">{said(column.values[index] as number)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
