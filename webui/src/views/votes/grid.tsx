/** The votes as a table that draws only the rows in sight, however many there are. */
import { type RefObject, useEffect, useLayoutEffect, useState } from "react";
import { formatNumber, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/explorer";
import type { VoteRow } from "./calls";
import { outcomeWords, rmChip, statusChip, versionsText } from "./words";

export const ROW = 44;
const HEAD = 34;
const BEYOND = 8;

interface Props {
  scroller: RefObject<HTMLDivElement | null>;
  rows: VoteRow[];
  total: number;
  active: number;
  opened: string | null;
  chosen: ReadonlySet<string>;
  onOpen: (index: number) => void;
  onChoose: (id: string) => void;
  onNearEnd: () => void;
}

export function Grid({ scroller, rows, total, active, opened, chosen, onOpen, onChoose, onNearEnd }: Props) {
  const texts = useTexts().votes;
  const [first, last] = useWindow(scroller, rows.length);
  useEffect(() => {
    if (last >= rows.length - BEYOND) onNearEnd();
  }, [last, rows.length, onNearEnd]);
  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box || active < 0) return;
    const top = active * ROW;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW + HEAD > box.scrollTop + box.clientHeight && box.clientHeight > 0)
      box.scrollTop = top + ROW + HEAD - box.clientHeight;
  }, [active, scroller]);
  return (
    <div
      role="grid"
      aria-label={texts.table}
      aria-rowcount={total + 1}
      aria-multiselectable="true"
      aria-activedescendant={rows[active] ? `row-${rows[active].id}` : undefined}
      tabIndex={0}
      className="vote-grid"
      style={{ height: rows.length * ROW + HEAD }}
    >
      <div role="row" tabIndex={-1} aria-rowindex={1} className="vote-row vote-head">
        <span role="columnheader" tabIndex={-1}>
          <span className="sr-only">{texts.columns.chosen}</span>
        </span>
        <span role="columnheader" tabIndex={-1} className="narrow-off">
          {texts.columns.time}
        </span>
        <span role="columnheader" tabIndex={-1} className="wide">
          {texts.columns.annotator}
        </span>
        <span role="columnheader" tabIndex={-1}>
          {texts.columns.prompt}
        </span>
        <span role="columnheader" tabIndex={-1} className="wide">
          {texts.columns.versions}
        </span>
        <span role="columnheader" tabIndex={-1}>
          {texts.columns.outcome}
        </span>
        <span role="columnheader" tabIndex={-1} className="wide">
          {texts.columns.rm}
        </span>
        <span role="columnheader" tabIndex={-1} className="wide">
          {texts.columns.status}
        </span>
      </div>
      {rows.slice(first, last).map((row, offset) => {
        const index = first + offset;
        return (
          <Row
            key={row.id}
            row={row}
            index={index}
            active={index === active}
            open={row.id === opened}
            chosen={chosen.has(row.id)}
            onOpen={onOpen}
            onChoose={onChoose}
          />
        );
      })}
    </div>
  );
}

interface RowProps {
  row: VoteRow;
  index: number;
  active: boolean;
  open: boolean;
  chosen: boolean;
  onOpen: (index: number) => void;
  onChoose: (id: string) => void;
}

function Row({ row, index, active, open, chosen, onOpen, onChoose }: RowProps) {
  const texts = useTexts();
  const language = useLanguage();
  const values = texts.votes.values as Record<string, string>;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the page's keys do what a click does, for the active row
    <div
      role="row"
      tabIndex={-1}
      id={`row-${row.id}`}
      aria-rowindex={index + 2}
      aria-selected={chosen}
      className="vote-row"
      style={{ position: "absolute", left: 0, right: 0, top: HEAD + index * ROW }}
      data-active={active}
      data-open={open}
      data-out={row.status !== "active"}
      onClick={() => onOpen(index)}
    >
      <span role="gridcell" tabIndex={-1}>
        <input
          type="checkbox"
          className="size-4 align-middle"
          checked={chosen}
          tabIndex={-1}
          aria-label={texts.votes.choose}
          onClick={(event) => event.stopPropagation()}
          onChange={() => onChoose(row.id)}
        />
      </span>
      <span role="gridcell" tabIndex={-1} className="narrow-off text-muted">
        {formatTime(row.at, language)}
      </span>
      <span role="gridcell" tabIndex={-1} className="wide">
        {row.annotator}
      </span>
      <span role="gridcell" tabIndex={-1} className="vote-prompt" title={row.prompt}>
        {row.prompt || <em className="text-muted">{texts.votes.noText}</em>}
      </span>
      <span role="gridcell" tabIndex={-1} className="wide tabular-nums">
        {versionsText(row)}
      </span>
      <span role="gridcell" tabIndex={-1} className="font-medium">
        {outcomeWords(row, texts)}
      </span>
      <span role="gridcell" tabIndex={-1} className="wide">
        {row.reward_model !== "unknown" && (
          <span className={rmChip(row)} title={values[`rm_${row.reward_model}`]}>
            {formatNumber(Math.abs(row.margin ?? 0), language)}
          </span>
        )}
      </span>
      <span role="gridcell" tabIndex={-1} className="wide">
        <span className={statusChip(row)}>{values[`status_${row.status}`]}</span>
      </span>
    </div>
  );
}

/** Which rows are in sight, with a few beyond: [first, one past the last]. */
function useWindow(scroller: RefObject<HTMLDivElement | null>, rows: number): [number, number] {
  const [shown, setShown] = useState<[number, number]>([0, 40]);
  useEffect(() => {
    const box = scroller.current;
    if (!box) return;
    const look = () => {
      const first = Math.max(0, Math.floor(box.scrollTop / ROW) - BEYOND);
      const last = first + Math.ceil((box.clientHeight || 900) / ROW) + 2 * BEYOND;
      setShown((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    look();
    box.addEventListener("scroll", look, { passive: true });
    const watcher = typeof ResizeObserver === "undefined" ? null : new ResizeObserver(look);
    watcher?.observe(box);
    return () => {
      box.removeEventListener("scroll", look);
      watcher?.disconnect();
    };
  }, [scroller]);
  return [Math.min(shown[0], Math.max(0, rows - 1)), Math.min(shown[1], rows)];
}
