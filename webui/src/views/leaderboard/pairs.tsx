/** Who won how often against whom: a matrix with every n, and each pair's interval in words. */
import { Fragment } from "react";
import type { components } from "../../api-types";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/explorer";

export type Board = components["schemas"]["BoardOut"];
type Pair = Board["pairs"][number];

export function Pairs({ pairs }: { pairs: Pair[] }) {
  const texts = useTexts();
  const words = texts.leaderboard;
  const language = useLanguage();
  const versions = [...new Set(pairs.flatMap((one) => [one.a, one.b]))].sort((a, b) => b - a);
  const percent = new Intl.NumberFormat(language === "zh" ? "zh-Hans" : "en-GB", {
    style: "percent",
    maximumFractionDigits: 0,
  });
  const share = (value: number | null) => (value === null ? "–" : percent.format(value));
  return (
    <section aria-labelledby="pairs-title" className="card overflow-hidden">
      <h2 id="pairs-title" className="px-4 pt-3 font-semibold">
        {words.pairs}
      </h2>
      <p className="px-4 pb-2 text-muted">{words.pairsLead}</p>
      <div className="overflow-x-auto" tabIndex={0} role="group" aria-label={words.pairs}>
        <table className="row-table pair-matrix">
          <thead>
            <tr>
              <td />
              {versions.map((one) => (
                <th key={one} scope="col">
                  {words.over(texts.common.version(one))}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {versions.map((row) => (
              <tr key={row}>
                <th scope="row">{texts.common.version(row)}</th>
                {versions.map((column) => {
                  const cell = met(pairs, row, column);
                  return (
                    <td key={column} data-tone={tone(cell)}>
                      {cell ? (
                        <Fragment>
                          <strong className="tabular-nums">{share(cell.rate)}</strong>
                          <span className="block text-[0.8rem] text-muted tabular-nums">
                            {share(cell.low)}–{share(cell.high)}
                          </span>
                          <span
                            className="block text-[0.8rem] text-muted"
                            title={words.cell(cell.wins, cell.ties, cell.losses, cell.both_bad)}
                          >
                            {words.n(cell.n, cell.annotators)}
                          </span>
                        </Fragment>
                      ) : (
                        <span className="text-muted">{row === column ? "" : "–"}</span>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

interface Cell {
  rate: number | null;
  low: number | null;
  high: number | null;
  wins: number;
  ties: number;
  losses: number;
  both_bad: number;
  n: number;
  annotators: number;
}

/** The pair, seen from the row's version. */
function met(pairs: Pair[], row: number, column: number): Cell | null {
  const pair = pairs.find(
    (one) => (one.a === row && one.b === column) || (one.a === column && one.b === row),
  );
  if (!pair) return null;
  const { ties, both_bad, n, annotators } = pair;
  if (pair.a === row) return { ...pair, wins: pair.wins_a, losses: pair.wins_b };
  const turned = (value: number | null) => (value === null ? null : 1 - value);
  return {
    rate: turned(pair.rate), low: turned(pair.high), high: turned(pair.low),
    wins: pair.wins_b, losses: pair.wins_a, ties, both_bad, n, annotators,
  }; // biome-ignore format: one cell
}

/** Green or red only where the interval leaves no doubt. */
const tone = (cell: Cell | null) =>
  cell?.low != null && cell.low > 0.5 ? "better" : cell?.high != null && cell.high < 0.5 ? "worse" : "open";
