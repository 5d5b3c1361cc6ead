/** Train now: what it would learn from, with which settings, and how long it took before. Nothing starts unasked. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Problem, type RunOptions } from "../../api";
import { formatDuration, formatNumber, formatShare } from "../../format";
import { keys } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Dialog } from "../../ui/dialog";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleApi, consoleKeys, consoleQueries, type Plan } from "../console/calls";
import { DataFacts } from "./data-plan";
import { takeFeedEvent } from "./feed";
import { Options } from "./train-options";

export default function TrainDialog({ onClose }: { onClose: () => void }) {
  const texts = useTexts();
  const words = useConsole().training;
  const client = useQueryClient();
  const [options, setOptions] = useState<RunOptions>({});
  const plan = useQuery(consoleQueries.plan(options));
  // While an option is refused, the last plan that could be made stays on the screen.
  const [shown, setShown] = useState(plan.data);
  if (plan.data && plan.data !== shown) setShown(plan.data);
  const train = useMutation({
    mutationFn: () => consoleApi.train(options),
    onSuccess: (made) => {
      if ("stages" in made) takeFeedEvent(client, { type: "run", data: made });
      else void client.invalidateQueries({ queryKey: consoleKeys.schedule });
      onClose();
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.status }),
  });
  const problem = train.error ?? plan.error;
  const atField = problem instanceof Problem && problem.field !== null;
  return (
    <Dialog title={words.title} onClose={onClose}>
      {problem && !atField && <ProblemLine error={problem} retry={() => void plan.refetch()} />}
      {!shown && !problem && <Loading />}
      {shown && (
        <PlanFacts plan={shown}>
          <Options
            plan={shown}
            options={options}
            onChange={(changed) => {
              train.reset();
              setOptions(changed);
            }}
            problem={atField ? problem : null}
          />
        </PlanFacts>
      )}
      <div className="mt-4 flex justify-end gap-2">
        <button type="button" className="btn" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button
          type="button"
          className="btn btn-main"
          disabled={train.isPending || plan.error !== null || shown?.blocked != null}
          onClick={() => train.mutate()}
        >
          {texts.admin.actions.train}
        </button>
      </div>
    </Dialog>
  );
}

function PlanFacts({ plan, children }: { plan: Plan; children: ReactNode }) {
  const texts = useTexts();
  const words = useConsole().training;
  const language = useLanguage();
  const kinds = Object.entries(plan.new_votes).sort(([, a], [, b]) => b - a);
  const seconds = plan.estimate.reduce((sum, stage) => sum + stage.seconds, 0);
  const pairs = Math.min(plan.total_pairs, plan.max_pairs);
  return (
    <div className="flex flex-col gap-3">
      {plan.blocked && <p className="text-bad">{words.blocked[plan.blocked] ?? plan.blocked}</p>}
      <p>
        {words.from(plan.parent ?? 0)} {words.newPairs(plan.new_pairs)}{" "}
        {words.pairs(pairs, formatShare(plan.held_out_share, language))}
      </p>
      {kinds.length > 0 && (
        <p className="text-muted">
          {words.newVotes}{" "}
          {kinds
            .map(([choice, count]) => `${words.choices[choice] ?? choice}: ${formatNumber(count, language)}`)
            .join(" · ")}
        </p>
      )}
      <DataFacts />
      <p className="text-muted">{words.prompts(plan.rollout_prompts, plan.gate_prompts)}</p>
      {plan.estimate.length > 0 ? (
        <p>
          {words.takes(formatDuration(seconds * 1000, language))}{" "}
          <span className="text-muted">
            {plan.estimate
              .map(
                (stage) =>
                  `${texts.admin.steps[stage.stage]} ${formatDuration(stage.seconds * 1000, language)}`,
              )
              .join(" · ")}
          </span>
        </p>
      ) : (
        <p className="text-muted">{words.noEstimate}</p>
      )}
      {children}
      <details>
        <summary className="font-medium">{words.settings}</summary>
        <div
          className="mt-2 max-h-64 overflow-y-auto rounded-lg bg-sunken p-3 font-mono text-[0.82rem]"
          tabIndex={0}
        >
          {Object.entries(plan.settings).map(([section, values]) => (
            <div key={section} className="mb-2">
              <p className="font-semibold">[{section}]</p>
              {Object.entries(values).map(([name, value]) => (
                <p key={name} className="wrap-anywhere">
                  {name} = {typeof value === "string" ? `"${value}"` : JSON.stringify(value)}
                </p>
              ))}
            </div>
          ))}
        </div>
      </details>
      <p className="text-[0.87rem] text-muted">{words.afterwards}</p>
    </div>
  );
}
