/** A training that did not go through: the end of the failed stage's log, and going on from there. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { Me, Run } from "../../api";
import { keys } from "../../queries";
import { useConsole, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { ProblemLine } from "../../ui/notice";
import { consoleApi, consoleQueries } from "../console/calls";
import { may } from "../console/guard";
import { takeFeedEvent } from "./feed";

export function Unfinished({ run, isNewest, me }: { run: Run; isNewest: boolean; me: Me }) {
  const texts = useTexts();
  const words = useConsole().training;
  const client = useQueryClient();
  const retry = useMutation({
    mutationFn: () => consoleApi.retry(run.id),
    onSuccess: (again) => {
      takeFeedEvent(client, { type: "run", data: again });
      void client.invalidateQueries({ queryKey: keys.runs });
    },
  });
  if (run.state !== "failed" && run.state !== "cancelled") return null;
  const at = run.stages.find((stage) => stage.state !== "done")?.stage;
  const logged = at === "reward" || at === "ppo" || at === "gate" ? at : null;
  return (
    <div className="flex flex-col gap-2 border-t border-line px-4 py-3">
      {isNewest && may(me, "train") && at && (
        <button
          type="button"
          className="btn self-start"
          disabled={retry.isPending}
          onClick={() => retry.mutate()}
        >
          <Icon name="again" className="size-4.5" />
          {words.retryFrom(texts.admin.steps[at])}
        </button>
      )}
      {!isNewest && <p className="text-[0.87rem] text-muted">{words.cannotRetry}</p>}
      {retry.error && <ProblemLine error={retry.error} />}
      {logged && <LogEnd run={run.id} stage={logged} />}
    </div>
  );
}

function LogEnd({ run, stage }: { run: string; stage: string }) {
  const words = useConsole().training;
  const log = useQuery(consoleQueries.log(run, stage));
  if (!log.data?.text) return null;
  const lines = log.data.text.trimEnd().split("\n").slice(-40).join("\n");
  return (
    <details>
      <summary className="text-[0.9rem] font-medium">{words.logEnd}</summary>
      <pre
        className="mt-2 max-h-72 overflow-auto rounded-lg bg-sunken p-3 text-[0.78rem] leading-snug"
        tabIndex={0}
      >
        {lines}
      </pre>
    </details>
  );
}
