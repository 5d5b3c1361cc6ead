/** Votes over time. Dragging over the bars narrows the search to these days; two date fields do the same. */
import { type PointerEvent, useState } from "react";
import { useTexts } from "../../texts/explorer";
import type { VotesFound } from "./calls";
import { withValue } from "./query";

type Bars = NonNullable<VotesFound["histogram"]>;
const HEIGHT = 44;

interface Props {
  bars: Bars;
  query: string;
  onQuery: (query: string) => void;
}

export function Histogram({ bars, query, onQuery }: Props) {
  const texts = useTexts().votes;
  const [drag, setDrag] = useState<[number, number] | null>(null);
  if (bars.length === 0) return <p className="text-[0.87rem] text-muted">{texts.noTime}</p>;
  const most = Math.max(...bars.map((one) => one.votes), 1);
  const total = bars.reduce((sum, one) => sum + one.votes, 0);
  const barAt = (event: PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * bars.length);
    return Math.min(bars.length - 1, Math.max(0, place));
  };
  const [from, to] = drag ? [Math.min(...drag), Math.max(...drag)] : [-1, -1];
  const end = () => {
    if (!drag) return;
    setDrag(null);
    const day = (at: string | undefined) => (at ?? "").slice(0, 10);
    onQuery(withValue(withValue(query, "after", day(bars[from]?.start)), "before", day(bars[to]?.end)));
  };
  return (
    <svg
      viewBox={`0 0 ${bars.length} ${HEIGHT}`}
      preserveAspectRatio="none"
      className="histogram"
      role="img"
      aria-label={texts.histogram(
        total,
        bars[0]?.start.slice(0, 10) ?? "",
        bars.at(-1)?.end.slice(0, 10) ?? "",
      )}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag([barAt(event), barAt(event)]);
      }}
      onPointerMove={(event) => drag && setDrag([drag[0], barAt(event)])}
      onPointerUp={end}
      onPointerCancel={() => setDrag(null)}
    >
      {bars.map((one, index) => {
        const height = one.votes === 0 ? 0 : Math.max(1.5, (one.votes / most) * (HEIGHT - 2));
        return (
          <rect
            key={one.start}
            x={index + 0.08}
            y={HEIGHT - height}
            width={0.84}
            height={height}
            data-chosen={index >= from && index <= to}
          />
        );
      })}
    </svg>
  );
}
