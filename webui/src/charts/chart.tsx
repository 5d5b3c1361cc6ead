/** One curve with its name and latest value; the same numbers as a table for who does not see lines. */
import { useEffect, useRef, useState } from "react";
import type { Stage } from "../api";
import { formatNumber } from "../format";
import { useLanguage, useTexts } from "../texts";
import { useShownTheme } from "../theme";
import { makePlot, type Plot } from "./plot";
import { type Column, useColumn } from "./series";

interface Props {
  run: string;
  stage: Stage;
  metric: keyof ReturnType<typeof useTexts>["admin"]["curves"]["names"];
}

export function Chart({ run, stage, metric }: Props) {
  const texts = useTexts().admin.curves;
  const language = useLanguage();
  const column = useColumn(run, stage, metric);
  const [asTable, setAsTable] = useState(false);
  const name = texts.names[metric];
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
      <figcaption className="flex items-baseline gap-2">
        <span className="truncate font-semibold">{name}</span>
        <span className="text-[0.82rem] whitespace-nowrap text-muted">{texts.units[metric]}</span>
        <span className="flex-1" />
        <span className="font-semibold tabular-nums">{said(last)}</span>
        <button
          type="button"
          className="icon-btn h-6 self-center px-1.5 text-[0.82rem]"
          aria-pressed={asTable}
          aria-label={texts.asTable(name)}
          onClick={() => setAsTable(!asTable)}
        >
          {asTable ? texts.chart : texts.table}
        </button>
      </figcaption>
      {column.steps.length === 0 ? (
        <p className="grid h-37.5 place-items-center text-[0.9rem] text-muted">{texts.waiting}</p>
      ) : asTable ? (
        <StepTable column={column} name={name} said={said} />
      ) : (
        <Line column={column} summary={summary} />
      )}
    </figure>
  );
}

function Line({ column, summary }: { column: Column; summary: string }) {
  const language = useLanguage();
  const theme = useShownTheme();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a canvas keeps its colours, so another theme is another plot
  useEffect(() => {
    if (!box.current) return;
    plot.current = makePlot(box.current, (value) => formatNumber(value, language));
    plot.current.draw(column);
    return () => plot.current?.destroy();
  }, [theme, language]);
  useEffect(() => plot.current?.draw(column), [column]);
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
