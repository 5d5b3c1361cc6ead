/** What was live when: a bar for each time, canaries beside what they were compared with. Also as a list. */
import { useState } from "react";
import type { Activation, Me } from "../../api";
import { formatDuration, formatShare, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Timeline } from "../admin/timeline";
import type { CanarySpan } from "../console/calls";
import { type Bar, bars } from "./layout";

interface Props {
  timeline: Activation[];
  canaries: CanarySpan[];
  me: Me;
  onOpen: (number: number) => void;
}

export function ServingTimeline({ timeline, canaries, me, onOpen }: Props) {
  const texts = useTexts().admin.timeline;
  const words = useConsole().versions;
  const [now] = useState(Date.now);
  const drawn = bars(timeline, canaries, now);
  const height = Math.max(0, ...drawn.map((bar) => bar.top + bar.height));
  if (drawn.length === 0) return <p className="text-muted">{texts.none}</p>;
  return (
    <>
      <div className="mb-1 grid grid-cols-2 gap-2 text-[0.82rem] text-muted">
        <span>{words.live}</span>
        <span>{words.canary}</span>
      </div>
      <ol aria-label={words.serving} className="relative max-h-104 overflow-y-auto" tabIndex={0}>
        <li aria-hidden="true" style={{ height }} />
        {drawn.map((bar) => (
          <BarItem key={`${bar.kind} ${bar.from}`} bar={bar} isNow={bar.open} onOpen={onOpen} />
        ))}
      </ol>
      <details className="mt-3">
        <summary className="text-[0.9rem] text-muted">{words.pointer}</summary>
        <div className="mt-2">
          <Timeline lines={timeline} me={me} />
        </div>
      </details>
    </>
  );
}

function BarItem({ bar, isNow, onOpen }: { bar: Bar; isNow: boolean; onOpen: (number: number) => void }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const look =
    bar.kind === "canary"
      ? "left-[calc(50%+0.25rem)] border-turn bg-turn-soft text-turn"
      : `left-0 ${isNow ? "border-accent bg-accent-soft text-accent" : "border-line-strong bg-sunken text-ink"}`;
  const shares = bar.shares?.map((share) => formatShare(share, language)).join(" → ");
  const span = [
    formatTime(bar.from, language),
    isNow ? words.untilNow : formatTime(bar.to, language),
    formatDuration(bar.to - bar.from, language),
    shares,
    bar.reason,
  ];
  return (
    <li className={`absolute w-[calc(50%-0.25rem)] p-px`} style={{ top: bar.top, height: bar.height, left: bar.kind === "canary" ? "calc(50% + 0.25rem)" : 0 }}>
      <button
        type="button"
        onClick={() => onOpen(bar.number)}
        title={span.filter(Boolean).join(" · ")}
        className={`flex h-full w-full items-start justify-between gap-2 overflow-hidden rounded-md border px-2 py-0.5 text-left text-[0.85rem] ${look}`}
      >
        <span className="font-semibold">{texts.common.version(bar.number)}</span>
        <span className="truncate">
          {shares ?? formatDuration(bar.to - bar.from, language)}
        </span>
      </button>
    </li>
  ); // biome-ignore format: the place in one line
}
