/** Whether a version could serve now, as facts for who is about to move the pointer. */
import type { UseQueryResult } from "@tanstack/react-query";
import { formatBytes, formatDuration, formatNumber } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { ProblemLine } from "../../ui/notice";
import type { Preflight } from "../console/calls";

export function PreflightFacts({ query }: { query: UseQueryResult<Preflight> }) {
  const words = useConsole().versions;
  const language = useLanguage();
  if (query.error) return <ProblemLine error={query.error} retry={() => void query.refetch()} />;
  const { data } = query;
  if (!data)
    return (
      <p role="status" className="text-muted">
        {words.checking}
      </p>
    );
  const seconds = (value: number) =>
    value < 1 ? `${formatNumber(value * 1000, language)} ms` : formatDuration(value * 1000, language);
  const facts: [boolean, string][] = [
    [
      data.error === null,
      data.error ?? words.filesGood(formatBytes(data.bytes, language), seconds(data.checked_s)),
    ],
    [data.ready_engines > 0, words.engines(data.ready_engines)],
    [
      true,
      data.warm_on.length > 0 ? words.warm(data.warm_on.join(", ")) : words.cold(seconds(data.checked_s)),
    ],
    [true, words.inFlight(data.in_flight, data.leaves)],
  ];
  if (data.canary) facts.push([true, words.canaryEnds(data.canary.number)]);
  return (
    <ul aria-label={words.preflight} className="flex flex-col gap-1 rounded-lg bg-sunken px-3 py-2">
      {facts.map(([good, text]) => (
        <li key={text} className={`flex items-start gap-2 text-[0.92rem] ${good ? "" : "text-bad"}`}>
          <Icon name={good ? "check" : "warn"} className={`mt-0.5 size-4 ${good ? "text-accent" : ""}`} />
          <span className="wrap-anywhere">{text}</span>
        </li>
      ))}
    </ul>
  );
}
