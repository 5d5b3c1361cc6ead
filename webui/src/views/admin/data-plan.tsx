/** The dry run of the data: which votes would train, which are left out and why, whose they are. */
import { useQuery } from "@tanstack/react-query";
import { formatNumber, formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { usePlanTexts } from "../../texts/console/plan";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries, type DataPlan } from "../console/calls";

export function DataFacts() {
  const plan = useQuery(consoleQueries.planData);
  if (plan.error) return <ProblemLine error={plan.error} retry={() => void plan.refetch()} />;
  return plan.data ? <Facts plan={plan.data} /> : <Loading />;
}

function Facts({ plan }: { plan: DataPlan }) {
  const words = usePlanTexts();
  const language = useLanguage();
  const number = (n: number) => formatNumber(n, language);
  const leftOut = Object.entries(plan.left_out).sort(([, a], [, b]) => b - a);
  return (
    <>
      {plan.too_few ? (
        <p className="text-turn">{plan.too_few}</p>
      ) : (
        <p>
          {words.learns(number(plan.train_pairs), number(plan.held_out_pairs))}{" "}
          {plan.imported > 0 && words.imported(number(plan.imported))}
        </p>
      )}
      <p className="text-muted">
        {leftOut.length === 0
          ? words.nothingLeftOut
          : `${words.leftOut} ${leftOut
              .map(([reason, count]) => `${number(count)} ${words.reasons[reason] ?? reason}`)
              .join(", ")}`}
      </p>
      {plan.annotators.length > 0 && <Annotators plan={plan} />}
    </>
  );
}

function Annotators({ plan }: { plan: DataPlan }) {
  const words = usePlanTexts();
  const language = useLanguage();
  const { columns } = words;
  return (
    <details>
      <summary className="font-medium">{words.whose}</summary>
      <p className="mt-1 text-muted">{words.cap(formatNumber(plan.cap, language))}</p>
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
              <td>{one.unknown ? words.open : one.weight.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {plan.annotators.some((one) => one.unknown) && <p className="text-muted">{words.asked}</p>}
      {plan.more_annotators > 0 && (
        <p className="text-muted">{words.more(formatNumber(plan.more_annotators, language))}</p>
      )}
    </details>
  );
}
