/** The dry run of the data: which votes would train, which are left out and why, whose they are. */
import { useQuery } from "@tanstack/react-query";
import { formatNumber, formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { useNext } from "../../texts/console/next";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries, type DataPlan } from "../console/calls";

export function DataFacts() {
  const plan = useQuery(consoleQueries.planData);
  if (plan.error) return <ProblemLine error={plan.error} retry={() => void plan.refetch()} />;
  return plan.data ? <Facts plan={plan.data} /> : <Loading />;
}

function Facts({ plan }: { plan: DataPlan }) {
  const next = useNext();
  const language = useLanguage();
  const number = (n: number) => formatNumber(n, language);
  const leftOut = Object.entries(plan.left_out).sort(([, a], [, b]) => b - a);
  return (
    <>
      {plan.too_few ? (
        <p className="text-turn">{plan.too_few}</p>
      ) : (
        <p>
          {next.learns(number(plan.train_pairs), number(plan.held_out_pairs))}{" "}
          {plan.imported > 0 && next.imported(number(plan.imported))}
        </p>
      )}
      <p className="text-muted">
        {leftOut.length === 0
          ? next.nothingLeftOut
          : `${next.leftOut} ${leftOut
              .map(([reason, count]) => `${number(count)} ${next.reasons[reason] ?? reason}`)
              .join(", ")}`}
      </p>
      {plan.annotators.length > 0 && <Annotators plan={plan} />}
    </>
  );
}

function Annotators({ plan }: { plan: DataPlan }) {
  const next = useNext();
  const language = useLanguage();
  const { columns } = next;
  return (
    <details>
      <summary className="font-medium">{next.whose}</summary>
      <p className="mt-1 text-muted">{next.cap(formatNumber(plan.cap, language))}</p>
      <table className="mt-1 w-full text-[0.92rem]">
        <thead>
          <tr className="text-left text-muted">
            <th scope="col">{columns.name}</th>
            <th scope="col">{columns.votes}</th>
            <th scope="col">{columns.share}</th>
            <th scope="col">{columns.over}</th>
            <th scope="col">{columns.weight}</th>
          </tr>
        </thead>
        <tbody>
          {plan.annotators.map((one) => (
            <tr key={one.name}>
              <th scope="row" className="text-left font-normal wrap-anywhere">
                {one.name}
              </th>
              <td>{formatNumber(one.votes, language)}</td>
              <td>{formatShare(one.share, language)}</td>
              <td>{formatNumber(one.over_cap, language)}</td>
              <td>{one.unknown ? next.open : one.weight.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {plan.annotators.some((one) => one.unknown) && <p className="text-muted">{next.asked}</p>}
      {plan.more_annotators > 0 && (
        <p className="text-muted">{next.more(formatNumber(plan.more_annotators, language))}</p>
      )}
    </details>
  );
}
