/** Two intervals a version, people's and the reward model's, on one scale from 0 to 100 %. */
import type { components } from "../../api-types";
import { formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { useHackingTexts } from "../../texts/hacking";

export type Watched = components["schemas"]["HackingOut"]["versions"][number];

const SLOT = 84;
const [LEFT, TOP, HEIGHT, BOTTOM] = [46, 12, 150, 26];
const y = (share: number) => TOP + HEIGHT * (1 - share);

interface Props {
  versions: readonly Watched[];
  /** The versions that the watch speaks of. */
  judged: readonly number[];
}

export function HackingChart({ versions, judged }: Props) {
  const words = useHackingTexts();
  const language = useLanguage();
  const percent = (value: number | null) => formatShare(value ?? 0, language);
  const width = LEFT + SLOT * versions.length + 8;
  const rows = versions.map((one) =>
    words.row(one.number, percent(one.people.share), percent(one.model.share), one.people.n),
  );
  const centre = (index: number) => LEFT + SLOT * (index + 0.5);
  const line = (side: "people" | "model", shift: number) =>
    versions.map((one, index) => `${centre(index) + shift},${y(one[side].share ?? 0)}`).join(" ");
  return (
    <div>
      <p className="mb-1 flex flex-wrap gap-x-4 text-[0.87rem]">
        <span className="flex items-center gap-1.5">
          <svg width="14" height="14" aria-hidden="true">
            <circle cx="7" cy="7" r="5" className="fill-accent" />
          </svg>
          {words.people}
        </span>
        <span className="flex items-center gap-1.5">
          <svg width="14" height="14" aria-hidden="true">
            <rect x="2" y="2" width="10" height="10" className="fill-turn" />
          </svg>
          {words.model}
        </span>
      </p>
      <div className="overflow-x-auto" tabIndex={0} role="group" aria-label={words.title}>
        <svg
          width={width}
          height={TOP + HEIGHT + BOTTOM}
          role="img"
          aria-label={words.chart(rows.join("; "))}
          data-testid="hacking-chart"
        >
          {[0, 0.25, 0.5, 0.75, 1].map((share) => (
            <g key={share}>
              <line
                x1={LEFT}
                x2={width}
                y1={y(share)}
                y2={y(share)}
                className={share === 0.5 ? "stroke-line-strong" : "stroke-line"}
                strokeDasharray={share === 0.5 ? undefined : "3 4"}
              />
              <text x={LEFT - 8} y={y(share) + 4} textAnchor="end" fontSize="11" className="fill-muted">
                {percent(share)}
              </text>
            </g>
          ))}
          <polyline points={line("people", -9)} fill="none" className="stroke-accent" strokeWidth="1.5" />
          <polyline
            points={line("model", 9)}
            fill="none"
            className="stroke-turn"
            strokeWidth="1.5"
            strokeDasharray="5 3"
          />
          {versions.map((one, index) => (
            <g key={one.number}>
              <Whisker x={centre(index) - 9} low={one.people.low} high={one.people.high} mark="accent" />
              <Whisker x={centre(index) + 9} low={one.model.low} high={one.model.high} mark="turn" />
              <circle cx={centre(index) - 9} cy={y(one.people.share ?? 0)} r="4.5" className="fill-accent" />
              <rect
                x={centre(index) + 4.5}
                y={y(one.model.share ?? 0) - 4.5}
                width="9"
                height="9"
                className="fill-turn"
              />
              <text
                x={centre(index)}
                y={TOP + HEIGHT + 18}
                textAnchor="middle"
                fontSize="12"
                className={judged.includes(one.number) ? "fill-ink" : "fill-muted"}
                fontWeight={judged.includes(one.number) ? 600 : 400}
              >
                {`v${one.number} · n ${one.people.n}`}
              </text>
            </g>
          ))}
        </svg>
      </div>
    </div>
  );
}

const STROKE = { accent: "stroke-accent", turn: "stroke-turn" } as const;

function Whisker({
  x,
  low,
  high,
  mark,
}: {
  x: number;
  low: number | null;
  high: number | null;
  mark: keyof typeof STROKE;
}) {
  if (low === null || high === null) return null;
  return (
    <path
      d={`M${x} ${y(low)}V${y(high)}M${x - 4} ${y(low)}h8M${x - 4} ${y(high)}h8`}
      className={STROKE[mark]}
      strokeWidth="1.5"
      fill="none"
    />
  );
}
