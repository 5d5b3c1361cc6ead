/** The dry run of the data: which votes would train, which are left out and why, whose they are. */
import { useQuery } from "@tanstack/react-query";
import { formatNumber } from "../../format";
import { useLanguage } from "../../texts";
import { usePlanTexts } from "../../texts/console/plan";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries, type DataPlan } from "../console/calls";
import { Annotators } from "./whose";

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
      {plan.annotators.length > 0 && (
        <details>
          <summary className="font-medium">{words.whose}</summary>
          <Annotators whose={plan} />
        </details>
      )}
    </>
  );
}
