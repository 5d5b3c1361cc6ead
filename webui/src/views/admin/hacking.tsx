/** Score against human win rate, version by version: where the two part, the reward model is being played. */
import { useQuery } from "@tanstack/react-query";
import { call } from "../../api";
import type { components } from "../../api-types";
import { formatNumber, formatShare } from "../../format";
import { useLanguage, useTexts } from "../../texts";
import { useHackingTexts } from "../../texts/hacking";
import { Empty } from "../../ui/notice";
import { Card } from "../console/guard";
import { HackingChart, type Watched } from "./hacking-chart";

type Hacking = components["schemas"]["HackingOut"];
type Share = Watched["people"];

const CHIP = { quiet: "chip", warn: "chip chip-turn", stop: "chip bg-bad-soft text-bad" } as const;

export default function HackingPanel() {
  const words = useHackingTexts();
  const { data } = useQuery({
    queryKey: ["hacking"],
    queryFn: () => call<Hacking>("GET", "/api/v1/hacking"),
    staleTime: 30_000,
  });
  if (!data) return null;
  const met = data.versions.filter((one) => one.people.n > 0);
  return (
    <Card id="hacking-title" title={words.title} hint={words.hint}>
      <div className="flex flex-col gap-3" data-testid="hacking">
        {met.length === 0 ? (
          <Empty title={words.none} hint={words.noneHint} />
        ) : (
          <>
            <p className="flex flex-wrap items-center gap-x-2.5 gap-y-1">
              <span className={CHIP[data.level]}>{words.levels[data.level]}</span>
              <span className="text-[0.9rem] text-muted">{words.lookBack(data.look_back)}</span>
            </p>
            {data.level !== "quiet" && <p className="wrap-anywhere first-letter:uppercase">{data.words}</p>}
            <HackingChart versions={met} judged={data.judged} />
          </>
        )}
        {data.versions.length > 0 && <Table versions={data.versions} />}
      </div>
    </Card>
  );
}

function Table({ versions }: { versions: readonly Watched[] }) {
  const words = useHackingTexts();
  const texts = useTexts();
  const language = useLanguage();
  const percent = (value: number | null) => (value === null ? "–" : formatShare(value, language));
  const share = (one: Share) =>
    one.share === null ? "–" : words.interval(percent(one.share), percent(one.low), percent(one.high));
  const times = (value: number | null) => (value === null ? "–" : words.times(formatNumber(value, language)));
  const { columns } = words;
  return (
    <div className="overflow-x-auto" tabIndex={0} role="group" aria-label={words.title}>
      <table className="row-table whitespace-nowrap tabular-nums">
        <thead>
          <tr>
            {Object.values(columns).map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {versions.toReversed().map((one) => (
            <tr key={one.number} data-testid={`hacking-${one.number}`}>
              <td className="font-semibold">{texts.common.version(one.number)}</td>
              <td>{share(one.people)}</td>
              <td>{share(one.model)}</td>
              <td>{formatNumber(one.people.n, language)}</td>
              <td>{one.lead === null ? "–" : formatNumber(one.lead, language)}</td>
              <td>{one.predicted.n ? words.of(share(one.predicted), one.predicted.n) : "–"}</td>
              <td>{times(one.length)}</td>
              <td>{times(one.entropy)}</td>
              <td>{percent(one.repeats)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
