/** The leaderboard: versions as players, each rating with its interval, and every pair with its n. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { call } from "../../api";
import { formatNumber } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/explorer";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { type Board, Pairs } from "./pairs";
import "./leaderboard.css";

type Rating = Board["versions"][number];
const MIN_VOTES = [1, 10, 30, 100];

export default function LeaderboardPage() {
  const texts = useTexts().leaderboard;
  const [style, setStyle] = useState(false);
  const [least, setLeast] = useState(1);
  const board = useQuery({
    queryKey: ["statistics", "board", style],
    queryFn: () => call<Board>("GET", `/api/v1/leaderboard?style=${style}`),
    placeholderData: keepPreviousData,
  });
  const shown = board.data?.versions.filter((one) => one.n >= least) ?? [];
  const hidden = (board.data?.versions.length ?? 0) - shown.length;
  return (
    <main id="content" className="min-h-0 flex-1 overflow-y-auto" tabIndex={0}>
      <div className="mx-auto flex max-w-260 flex-col gap-5 p-4 sm:p-6">
        <div className="flex flex-wrap items-end gap-x-6 gap-y-3">
          <div className="min-w-56 flex-1 max-sm:basis-full">
            <h1 className="text-[1.3rem] font-semibold">{texts.title}</h1>
            <p className="text-muted">{texts.lead}</p>
          </div>
          <label className="flex items-center gap-2">
            <input type="checkbox" checked={style} onChange={(event) => setStyle(event.target.checked)} />
            <span title={texts.styleHint}>{texts.style}</span>
          </label>
          <label className="flex items-center gap-2">
            <span>{texts.least}</span>
            <select
              className="field min-h-9 w-auto py-1"
              value={least}
              onChange={(event) => setLeast(Number(event.target.value))}
            >
              {MIN_VOTES.map((one) => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
            </select>
          </label>
        </div>
        {board.error && <ProblemLine error={board.error} retry={() => void board.refetch()} />}
        {board.isPending && <Loading lines={6} />}
        {board.data && (
          <>
            <LeftOut board={board.data} />
            <section
              className="card overflow-hidden"
              aria-label={texts.ratings}
              aria-busy={board.isPlaceholderData}
            >
              {shown.length === 0 ? (
                <Empty title={hidden ? texts.noneEnough : texts.none} hint={texts.noneHint} />
              ) : (
                <Ratings ratings={shown} />
              )}
              {hidden > 0 && (
                <p className="border-t border-line px-4 py-2 text-muted">{texts.hidden(hidden)}</p>
              )}
            </section>
            {style && board.data.style.length > 0 && <Style board={board.data} />}
            {board.data.pairs.length > 0 && <Pairs pairs={board.data.pairs} />}
          </>
        )}
      </div>
    </main>
  );
}

/** What is not in the numbers, counted in sight. */
function LeftOut({ board }: { board: Board }) {
  const texts = useTexts().leaderboard;
  const reasons = Object.entries(board.left_out).filter(([, votes]) => votes > 0);
  return (
    <p className="flex flex-wrap items-center gap-x-2 gap-y-1">
      <span className="font-medium">{texts.counted(board.counted)}</span>
      {reasons.map(([reason, votes]) => (
        <span key={reason} className={reason === "leaked" ? "chip chip-turn" : "chip"}>
          {texts.leftOut[reason as keyof typeof texts.leftOut](votes)}
        </span>
      ))}
      {board.left_out.leaked > 0 && (
        <Link href="/votes?q=flag:leaked" className="text-[0.9rem] text-accent underline">
          {texts.showLeaks}
        </Link>
      )}
    </p>
  );
}

function Ratings({ ratings }: { ratings: Rating[] }) {
  const texts = useTexts();
  const words = texts.leaderboard;
  const language = useLanguage();
  const ends = ratings.flatMap((one) => (one.rating === null ? [] : [one.rating, ...near(one)]));
  const [low, high] = [Math.min(...ends, 990) - 10, Math.max(...ends, 1010) + 10];
  return (
    <div className="overflow-x-auto" tabIndex={0} role="group" aria-label={words.ratings}>
      <table className="row-table ratings">
        <thead>
          <tr>
            <th scope="col">{words.columns.rank}</th>
            <th scope="col">{words.columns.version}</th>
            <th scope="col">{words.columns.rating}</th>
            <th scope="col">{words.columns.interval}</th>
            <th scope="col" className="whisker-column">
              <span className="sr-only">{words.columns.drawn}</span>
            </th>
            <th scope="col">{words.columns.n}</th>
          </tr>
        </thead>
        <tbody>
          {ratings.map((one) => (
            <tr key={one.number} data-testid={`rating-${one.number}`}>
              <td className="tabular-nums">{rank(one)}</td>
              <td className="font-semibold">{texts.common.version(one.number)}</td>
              {one.rating === null ? (
                <td colSpan={3} className="text-muted">
                  {words.unrated}
                </td>
              ) : (
                <>
                  <td className="font-semibold tabular-nums">{Math.round(one.rating)}</td>
                  <td className="whitespace-nowrap text-muted tabular-nums">
                    {one.low === one.high
                      ? words.columns.anchor
                      : `${Math.round(one.low ?? 0)} – ${Math.round(one.high ?? 0)}`}
                  </td>
                  <td className="whisker-column">
                    <Whisker rating={one} low={low} high={high} />
                  </td>
                </>
              )}
              <td className="tabular-nums">{formatNumber(one.n, language)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A rank that the intervals leave open is said as a range. */
const rank = (one: Rating) =>
  one.best_rank == null
    ? "–"
    : one.best_rank === one.worst_rank
      ? `${one.best_rank}`
      : `${one.best_rank}–${one.worst_rank}`;

/** An interval of few votes can reach far: it is drawn up to 400 points, and said whole beside it. */
const near = (one: Rating): number[] =>
  one.rating === null || one.low === null || one.high === null
    ? []
    : [Math.max(one.low, one.rating - 400), Math.min(one.high, one.rating + 400)];

function Whisker({ rating, low, high }: { rating: Rating; low: number; high: number }) {
  const place = (value: number) => ((value - low) / (high - low)) * 200;
  const [from = 0, to = 0] = near(rating);
  return (
    <svg viewBox="0 0 200 20" className="whisker" aria-hidden="true" preserveAspectRatio="none">
      <line className="anchor" x1={place(1000)} x2={place(1000)} y1={0} y2={20} />
      <line x1={place(from)} x2={place(to)} y1={10} y2={10} />
      <line x1={place(from)} x2={place(from)} y1={6} y2={14} />
      <line x1={place(to)} x2={place(to)} y1={6} y2={14} />
      <line className="middle" x1={place(rating.rating ?? 0)} x2={place(rating.rating ?? 0)} y1={3} y2={17} />
    </svg>
  );
}

function Style({ board }: { board: Board }) {
  const texts = useTexts().leaderboard;
  return (
    <section aria-labelledby="style-title" className="card p-4">
      <h2 id="style-title" className="font-semibold">
        {texts.styleTitle}
      </h2>
      <p className="mb-2 text-muted">{texts.styleLead}</p>
      <ul className="flex flex-wrap gap-x-6 gap-y-1">
        {board.style.map((one) => (
          <li key={one.element}>
            {texts.elements[one.element as keyof typeof texts.elements]}{" "}
            <strong className="tabular-nums">{signed(one.effect)}</strong>{" "}
            <span className="text-muted tabular-nums">
              ({signed(one.low)} – {signed(one.high)})
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const signed = (value: number) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(0)}`;
