/** The curves of a run: read once, then grown by the feed step by step. */
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { api, type Run, type Stage } from "../../api";
import { Chart } from "../../charts/chart";
import { series } from "../../charts/series";
import { keys } from "../../queries";
import { useTexts } from "../../texts";
import { Empty, ProblemLine } from "../../ui/notice";

const SHOWN = [
  ["ppo", "reward_mean"],
  ["ppo", "ref_kl"],
  ["ppo", "response_length_mean"],
  ["ppo", "perplexity"],
  ["reward", "loss"],
  ["reward", "accuracy"],
] as const satisfies readonly (readonly [Stage, string])[];

export function Curves({ run }: { run: Run | null }) {
  const texts = useTexts();
  const id = run?.id ?? "";
  const metrics = useQuery({
    queryKey: keys.metrics(id),
    queryFn: () => api.metrics(id),
    enabled: run !== null,
    staleTime: Number.POSITIVE_INFINITY,
  });
  useEffect(() => series.add(metrics.data?.items ?? []), [metrics.data]);

  if (!run)
    return (
      <div className="card">
        <Empty title={texts.admin.run.none} hint={texts.admin.run.noneHint} />
      </div>
    );
  return (
    <section aria-label={texts.admin.curves.title} className="flex min-w-0 flex-col gap-4">
      {metrics.error && <ProblemLine error={metrics.error} retry={() => void metrics.refetch()} />}
      {(["ppo", "reward"] as const).map((stage) => (
        <div key={stage}>
          <h2 className="eyebrow mb-1.5">{texts.admin.curves[stage]}</h2>
          <div className="grid gap-3 md:grid-cols-2">
            {SHOWN.filter(([of]) => of === stage).map(([of, metric]) => (
              <Chart key={`${id} ${metric}`} run={id} stage={of} metric={metric} />
            ))}
          </div>
        </div>
      ))}
    </section>
  );
}
