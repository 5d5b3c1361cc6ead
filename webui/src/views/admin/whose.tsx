/** Whose votes a data set holds, and how much they weigh: of a training, and of what one would learn from. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { formatNumber, formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { usePlanTexts } from "../../texts/console/plan";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries, type WhoseVotes } from "../console/calls";

export default function WhoseVotesOf({ run }: { run: string }) {
  const words = usePlanTexts();
  const [isOpen, setOpen] = useState(false);
  const whose = useQuery({ ...consoleQueries.whoseVotes(run), enabled: isOpen });
  return (
    <details
      className="border-t border-line px-4 py-2.5"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary className="font-medium">{words.whose}</summary>
      {whose.error && <ProblemLine error={whose.error} retry={() => void whose.refetch()} />}
      {isOpen && whose.isPending && <Loading />}
      {whose.data && <Annotators whose={whose.data} />}
    </details>
  );
}

export function Annotators({ whose }: { whose: WhoseVotes }) {
  const words = usePlanTexts();
  const language = useLanguage();
  const { columns } = words;
  return (
    <>
      {whose.cap !== null && (
        <p className="mt-1 text-muted">{words.cap(formatNumber(whose.cap, language))}</p>
      )}
      <table className="mt-1 w-full text-[0.92rem] [&_td]:pl-2 [&_td]:text-right [&_td]:tabular-nums">
        <thead>
          <tr className="align-bottom text-[0.82rem] text-muted [&_th]:font-medium [&_th+th]:pl-2 [&_th+th]:text-right">
            <th scope="col" className="text-left">
              {columns.name}
            </th>
            <th scope="col">{columns.votes}</th>
            <th scope="col">{columns.share}</th>
            <th scope="col">{columns.over}</th>
            <th scope="col">{columns.weight}</th>
          </tr>
        </thead>
        <tbody>
          {whose.annotators.map((one) => (
            <tr key={one.name}>
              <th scope="row" className="text-left font-normal wrap-anywhere">
                {one.name}
              </th>
              <td>{formatNumber(one.votes, language)}</td>
              <td>{formatShare(one.share, language)}</td>
              <td>{formatNumber(one.over_cap, language)}</td>
              <td>{one.unknown ? words.open : one.weight.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {whose.more_annotators > 0 && (
        <p className="text-[0.92rem] text-muted">
          {words.more(formatNumber(whose.more_annotators, language))}
        </p>
      )}
      {whose.annotators.some((one) => one.unknown) && (
        <p className="mt-1 text-[0.87rem] text-muted">{words.asked}</p>
      )}
    </>
  );
}
