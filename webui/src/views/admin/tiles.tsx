/** Five numbers at a glance, each with its n and its interval; one that is not known says so. */
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Run, Status } from "../../api";
import { formatNumber, formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole } from "../../texts/console";
import { consoleQueries } from "../console/calls";
import { useStatistics } from "../console/statistics";

interface Props {
  status: Status;
  runs: Run[];
}

export function Tiles({ status, runs }: Props) {
  const words = useConsole().tiles;
  return (
    <section aria-label={words.label} className="grid grid-cols-[repeat(auto-fit,minmax(13rem,1fr))] gap-3">
      <VotesTile status={status} />
      <CanaryTile status={status} />
      <RewardTile runs={runs} />
      <AgreementTile />
      <AnswersTile />
    </section>
  );
}

interface TileProps {
  name: string;
  value: ReactNode;
  note?: ReactNode;
  alarm?: boolean;
  children?: ReactNode;
}

function Tile({ name, value, note, alarm = false, children }: TileProps) {
  return (
    <article className="card flex min-w-0 flex-col gap-0.5 px-4 py-3">
      <h2 className="eyebrow">{name}</h2>
      <p className={`text-[1.3rem] leading-tight font-semibold tabular-nums ${alarm ? "text-bad" : ""}`}>
        {value}
      </p>
      {children}
      <p className="text-[0.85rem] text-muted">{note}</p>
    </article>
  );
}

function VotesTile({ status }: { status: Status }) {
  const words = useConsole().tiles;
  const language = useLanguage();
  const { pending, min_votes, total } = status.votes;
  return (
    <Tile
      name={words.votes}
      value={formatNumber(total, language)}
      note={words.votesNote(pending, min_votes)}
    />
  );
}

function CanaryTile({ status }: { status: Status }) {
  const words = useConsole().tiles;
  const language = useLanguage();
  const statistics = useStatistics();
  const percent = (share: number) => formatShare(share, language);
  const number = status.canary?.number ?? status.active?.number;
  const other = status.canary ? status.active?.number : status.previous;
  const name = number && other ? words.winRate(number, other) : words.winRateNone;
  const pair = number && other ? statistics.pairOf(number, other) : undefined;
  if (!pair || pair.rate === null)
    return <Tile name={name} value="–" note={statistics.missing ? words.noStatistics : words.noDuels} />;
  const needs = statistics.data?.canary?.needs;
  return (
    <Tile
      name={name}
      value={percent(pair.rate)}
      note={[
        words.interval(percent(pair.low ?? 0), percent(pair.high ?? 1), pair.n),
        needs ? words.needs(needs) : "",
      ]
        .filter(Boolean)
        .join(" · ")}
    >
      <Interval low={pair.low ?? 0} high={pair.high ?? 1} value={pair.rate} />
    </Tile>
  );
}

function Interval({ low, high, value }: { low: number; high: number; value: number }) {
  return (
    <svg viewBox="0 0 100 6" className="my-1 h-1.5 w-full" preserveAspectRatio="none" aria-hidden="true">
      <rect width="100" height="6" className="fill-sunken" />
      <rect x={low * 100} width={Math.max(0.6, (high - low) * 100)} height="6" className="fill-line-strong" />
      <rect x={value * 100 - 0.6} width="1.2" height="6" className="fill-accent" />
      <path d="M50 0V6" className="stroke-ink" strokeWidth="0.5" />
    </svg>
  );
}

/** Of the newest trainings that measured it, oldest first. */
export function accuracies(
  runs: readonly Run[],
): { held: number; before: number | null; pairs: number | null }[] {
  return runs
    .flatMap((run) => {
      const summary = run.stages.find((stage) => stage.stage === "reward")?.summary ?? {};
      const held = summary.held_out_accuracy ?? summary.accuracy;
      const before = summary.prequential_accuracy;
      if (typeof held !== "number") return [];
      const pairs = run.snapshot?.held_out_pairs ?? null;
      return [{ held, before: typeof before === "number" ? before : null, pairs }];
    })
    .reverse();
}

/** Wilson's interval at 95 %: the share of `n` pairs that were judged right. */
export function wilson(share: number, n: number): [number, number] {
  const z = 1.959964;
  const centre = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

function RewardTile({ runs }: { runs: Run[] }) {
  const words = useConsole().tiles;
  const language = useLanguage();
  const known = accuracies(runs);
  const last = known.at(-1);
  if (!last) return <Tile name={words.reward} value="–" note={words.noReward} />;
  const percent = (share: number) => formatShare(share, language);
  const interval = last.pairs ? wilson(last.held, last.pairs) : null;
  const notes = [
    interval && last.pairs ? words.interval(percent(interval[0]), percent(interval[1]), last.pairs) : "",
    last.before === null ? "" : words.before(percent(last.before)),
  ];
  return (
    <Tile name={words.reward} value={percent(last.held)} note={notes.filter(Boolean).join(" · ")}>
      {known.length > 1 && <Sparkline values={known.map((one) => one.held)} />}
    </Tile>
  );
}

function Sparkline({ values }: { values: number[] }) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = high - low || 1;
  const points = values.map(
    (value, index) => `${(index / (values.length - 1)) * 100},${22 - ((value - low) / range) * 20}`,
  );
  return (
    <svg viewBox="0 0 100 24" className="my-1 h-6 w-full" preserveAspectRatio="none" aria-hidden="true">
      <polyline
        points={points.join(" ")}
        fill="none"
        className="stroke-accent"
        strokeWidth="1.5"
        vectorEffect="non-scaling-stroke"
      />
    </svg>
  );
}

const BIAS = 0.05;

function AgreementTile() {
  const words = useConsole().tiles;
  const language = useLanguage();
  const { data, missing } = useStatistics();
  if (!data) return <Tile name={words.agreement} value="–" note={missing ? words.noStatistics : ""} />;
  const percent = (share: number) => formatShare(share, language);
  const { agreement, position } = data;
  const [low, high] = [position.low, position.high];
  const biased = low !== null && high !== null && (low > 0.5 + BIAS || high < 0.5 - BIAS);
  const left =
    position.left_share === null
      ? words.noPosition
      : words.position(percent(position.left_share), percent(low ?? 0), percent(high ?? 1), position.n);
  return (
    <Tile
      name={words.agreement}
      value={agreement.alpha === null ? "–" : `α ${formatNumber(agreement.alpha, language)}`}
      note={
        <>
          {words.doubly(agreement.n)} · <span className={biased ? "font-semibold text-bad" : ""}>{left}</span>
        </>
      }
    />
  );
}

/** So many failed answers of a hundred are no accident. */
const FAILED = 0.02;

function AnswersTile() {
  const words = useConsole().tiles;
  const language = useLanguage();
  const system = useQuery(consoleQueries.system);
  const answers = system.data?.answers;
  if (!answers) return <Tile name={words.firstWord} value="–" />;
  const { ended, failed, waiting, first_word_p50_s: half, first_word_p95_s: most } = answers;
  const seconds = (value: number) => `${formatNumber(Number(value.toPrecision(2)), language)} s`;
  const minutes = answers.by_minute_p95_s.filter((value) => value !== null);
  const counts = [
    words.failed(failed, ended),
    waiting ? words.waiting(waiting) : "",
    words.lately(answers.window_s / 60),
  ];
  return (
    <Tile
      name={words.firstWord}
      value={half === null || most === null ? "–" : `${seconds(half)} / ${seconds(most)}`}
      alarm={failed > FAILED * ended}
      note={counts.filter(Boolean).join(" · ")}
    >
      {minutes.length > 1 && <Sparkline values={minutes} />}
    </Tile>
  );
}
