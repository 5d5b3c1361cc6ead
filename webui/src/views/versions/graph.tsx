/** The lineage: a row for each version, lines from parent to child, a diamond for its reward model. */
import { type KeyboardEvent, useRef } from "react";
import type { PolicyVersion } from "../../api";
import { formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Icon, type IconName } from "../../ui/icons";
import { type Placed, place } from "./layout";

const ROW_PX = 58;
const LANE_PX = 26;
const LEFT_PX = 22;

export const STATE_CHIP: Record<PolicyVersion["state"], string> = {
  candidate: "chip chip-turn",
  canary: "chip chip-turn",
  active: "chip chip-good",
  retired: "chip",
  rejected: "chip chip-bad",
  rolled_back: "chip chip-bad",
};
export const STATE_ICON: Record<PolicyVersion["state"], IconName> = {
  candidate: "clock",
  canary: "play",
  active: "check",
  retired: "dash",
  rejected: "close",
  rolled_back: "back",
};
const DOT: Record<PolicyVersion["state"], string> = {
  candidate: "fill-turn-soft stroke-turn",
  canary: "fill-turn stroke-turn",
  active: "fill-accent stroke-accent",
  retired: "fill-surface stroke-line-strong",
  rejected: "fill-bad-soft stroke-bad",
  rolled_back: "fill-surface stroke-bad",
};

interface Props {
  versions: PolicyVersion[];
  open: number;
  onOpen: (number: number) => void;
  marked: number[];
  onMark: (number: number) => void;
}

export function Graph({ versions, open, onOpen, marked, onMark }: Props) {
  const words = useConsole().versions;
  const list = useRef<HTMLOListElement>(null);
  const placed = place(versions);
  const lanes = Math.max(...placed.map((one) => one.lane)) + 1;
  const width = LEFT_PX + lanes * LANE_PX + 8;

  const focus = (number: number | null | undefined) =>
    list.current?.querySelector<HTMLElement>(`[data-number="${number}"]`)?.focus();
  const walk = (event: KeyboardEvent, { version, row }: Placed) => {
    const child = [...versions]
      .sort((a, b) => a.number - b.number)
      .find((one) => one.parent === version.number);
    const to: Record<string, number | null | undefined> = {
      ArrowUp: placed[row - 1]?.version.number,
      ArrowDown: placed[row + 1]?.version.number,
      ArrowLeft: version.parent,
      ArrowRight: child?.number,
      Home: placed[0]?.version.number,
      End: placed.at(-1)?.version.number,
    };
    if (event.key in to) {
      event.preventDefault();
      focus(to[event.key]);
    } else if (event.key === "c" || event.key === "C") onMark(version.number);
  };

  return (
    <div className="relative max-h-[32rem] overflow-y-auto pb-2">
      <svg
        className="absolute top-0 left-0"
        width={width}
        height={placed.length * ROW_PX}
        aria-hidden="true"
        data-testid="lineage"
      >
        {placed.map((one) => (
          <Edge key={one.version.number} child={one} parent={placed.find((other) => other.version.number === one.version.parent)} />
        ))}
        {placed.map((one) => (
          <Node key={one.version.number} placed={one} isOpen={one.version.number === open} />
        ))}
      </svg>
      <ol ref={list} aria-label={words.lineage}>
        {placed.map((one) => (
          <Row
            key={one.version.number}
            placed={one}
            indent={width}
            isOpen={one.version.number === open}
            isMarked={marked.includes(one.version.number)}
            onOpen={() => onOpen(one.version.number)}
            onMark={() => onMark(one.version.number)}
            onKeyDown={(event) => walk(event, one)}
          />
        ))}
      </ol>
    </div>
  ); // biome-ignore format: edges in one line
}

const x = (lane: number) => LEFT_PX + lane * LANE_PX;
const y = (row: number) => row * ROW_PX + ROW_PX / 2;

function Edge({ child, parent }: { child: Placed; parent: Placed | undefined }) {
  if (!parent) return null;
  const [x1, y1, x2, y2] = [x(parent.lane), y(parent.row), x(child.lane), y(child.row)];
  const bend = Math.min(ROW_PX / 2, (y1 - y2) / 2);
  const path =
    x1 === x2 ? `M${x1} ${y1}V${y2}` : `M${x1} ${y1}C${x1} ${y1 - bend} ${x2} ${y1 - bend} ${x2} ${y2}`;
  return <path d={path} className="stroke-line-strong" fill="none" strokeWidth={1.5} />;
}

function Node({ placed: { version, lane, row }, isOpen }: { placed: Placed; isOpen: boolean }) {
  const [cx, cy] = [x(lane), y(row)];
  return (
    <g>
      {version.reward_model != null && (
        <path
          d={`M${cx - 14} ${cy - 4}l4 4-4 4-4-4zM${cx - 10} ${cy}H${cx - 7}`}
          className="fill-turn-soft stroke-turn"
          strokeWidth={1.2}
        />
      )}
      {isOpen && <circle cx={cx} cy={cy} r={11} className="fill-none stroke-accent" strokeWidth={1.5} />}
      <circle cx={cx} cy={cy} r={7} className={DOT[version.state]} strokeWidth={2} />
    </g>
  );
}

interface RowProps {
  placed: Placed;
  indent: number;
  isOpen: boolean;
  isMarked: boolean;
  onOpen: () => void;
  onMark: () => void;
  onKeyDown: (event: KeyboardEvent) => void;
}

function Row({ placed: { version }, indent, isOpen, isMarked, onOpen, onMark, onKeyDown }: RowProps) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const origin = [
    version.parent == null ? texts.admin.versions.base : texts.admin.versions.parent(version.parent),
    version.reward_model != null && texts.admin.versions.rewardModel(version.reward_model),
    formatTime(version.created_at, language),
  ].filter(Boolean);
  return (
    <li className={`flex items-center gap-2 pr-3 ${isOpen ? "bg-hover" : ""}`} style={{ height: ROW_PX, paddingLeft: indent }}>
      <button
        type="button"
        data-number={version.number}
        data-testid={`version-${version.number}`}
        tabIndex={isOpen ? 0 : -1}
        aria-current={isOpen}
        className="min-w-0 flex-1 rounded-md px-2 py-1 text-left hover:bg-hover"
        onClick={onOpen}
        onKeyDown={onKeyDown}
      >
        <span className="flex items-center gap-2">
          <span className="font-semibold">{texts.common.version(version.number)}</span>
          <span className={STATE_CHIP[version.state]}>
            <Icon name={STATE_ICON[version.state]} className="size-3.5" />
            {texts.admin.versions.states[version.state]}
          </span>
        </span>
        <span className="block truncate text-[0.85rem] text-muted">{origin.join(" · ")}</span>
      </button>
      <button
        type="button"
        className="icon-btn px-1.5 text-[0.82rem]"
        aria-pressed={isMarked}
        aria-label={words.compareThis(version.number)}
        title={words.compareThis(version.number)}
        onClick={onMark}
      >
        {words.compare}
      </button>
    </li>
  ); // biome-ignore format: the row's style in one line
}
