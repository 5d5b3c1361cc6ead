/** Beside the curves: answers that the policy gave along the training, and alerts with who has seen them. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Me, Run } from "../../api";
import { formatNumber, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Empty, ProblemLine } from "../../ui/notice";
import { type Alert, consoleApi, consoleKeys, consoleQueries, type Sample } from "../console/calls";
import { Card, may } from "../console/guard";
import { isOpen } from "./feed";

const LOOK_AGAIN_MS = 15_000;

export function Alerts({ run, me }: { run: Run | null; me: Me }) {
  const words = useConsole().training;
  const alerts = useQuery({
    ...consoleQueries.alerts(run?.id ?? ""),
    refetchInterval: run && isOpen(run) ? LOOK_AGAIN_MS : false,
  });
  const items = alerts.data?.items ?? [];
  return (
    <Card id="alerts-title" title={words.alerts} hint={items.length > 0 ? `${items.length}` : undefined}>
      {alerts.error && <ProblemLine error={alerts.error} retry={() => void alerts.refetch()} />}
      {items.length === 0 && <p className="text-muted">{words.noAlerts}</p>}
      <ul className="flex max-h-80 flex-col gap-2 overflow-y-auto">
        {items.map((alert) => (
          <AlertLine key={alert.id} alert={alert} run={run?.id ?? ""} me={me} />
        ))}
      </ul>
    </Card>
  );
}

function AlertLine({ alert, run, me }: { alert: Alert; run: string; me: Me }) {
  const words = useConsole().training;
  const language = useLanguage();
  const client = useQueryClient();
  const acknowledge = useMutation({
    mutationFn: () => consoleApi.acknowledge(run, alert.id),
    onSuccess: () => client.invalidateQueries({ queryKey: consoleKeys.alerts(run) }),
  });
  const seen = alert.acknowledged_at;
  return (
    <li
      className={`flex items-start gap-2 rounded-lg px-3 py-2 ${seen ? "bg-sunken text-muted" : alert.stopped ? "bg-bad-soft text-bad" : "bg-turn-soft text-turn"}`}
    >
      <Icon name={seen ? "check" : "warn"} className="mt-0.5 size-4" />
      <span className="min-w-0 flex-1 text-[0.92rem] wrap-anywhere">
        <span className="font-semibold">{words.atStep(alert.step)}</span> {alert.text}
        {seen && <span className="block text-[0.85rem]">{words.seenAt(formatTime(seen, language))}</span>}
      </span>
      {!seen && may(me, "train") && (
        <button
          type="button"
          className="btn btn-small"
          disabled={acknowledge.isPending}
          onClick={() => acknowledge.mutate()}
        >
          {words.acknowledge}
        </button>
      )}
    </li>
  );
}

export function Samples({ run }: { run: Run | null }) {
  const words = useConsole().training;
  const samples = useQuery({
    ...consoleQueries.samples(run?.id ?? ""),
    refetchInterval: run && isOpen(run) ? LOOK_AGAIN_MS : false,
  });
  const items = samples.data?.items ?? [];
  const [picked, setPicked] = useState<number | null>(null);
  if (items.length === 0)
    return (
      <Card id="samples-title" title={words.samples}>
        {samples.error ? (
          <ProblemLine error={samples.error} retry={() => void samples.refetch()} />
        ) : (
          <Empty title={words.noSamples} hint={words.noSamplesHint} />
        )}
      </Card>
    );
  const shown = picked === null ? along(items) : items.filter((one) => one.update === picked);
  return (
    <Card
      id="samples-title"
      title={words.samples}
      hint={words.samplesHint}
      actions={
        <select
          className="field min-h-8 w-auto py-0.5 text-[0.88rem]"
          aria-label={words.update}
          value={picked ?? ""}
          onChange={(event) => setPicked(event.target.value ? Number(event.target.value) : null)}
        >
          <option value="">{words.along}</option>
          {items.map((one) => (
            <option key={one.update} value={one.update}>
              {words.atStep(one.update)}
            </option>
          ))}
        </select>
      }
    >
      <div className="grid gap-3 md:grid-cols-2 xl:grid-cols-4">
        {shown.map((sample) => (
          <SampleCard key={sample.update} sample={sample} />
        ))}
      </div>
    </Card>
  );
}

/** At the beginning, a third, two thirds and the end. */
export function along<T>(items: readonly T[]): T[] {
  const last = items.length - 1;
  const places = new Set([0, 1, 2, 3].map((part) => Math.round((part / 3) * last)));
  return [...places].map((place) => items[place] as T);
}

function SampleCard({ sample }: { sample: Sample }) {
  const words = useConsole().training;
  const language = useLanguage();
  return (
    <article className="flex min-w-0 flex-col gap-1.5 rounded-lg border border-line p-3">
      <p className="flex flex-wrap items-baseline gap-x-2 text-[0.85rem] text-muted">
        <span className="font-semibold whitespace-nowrap text-ink">{words.atStep(sample.update)}</span>
        <span className="flex-1" />
        {words.score(formatNumber(sample.score, language))} · {words.tokens(sample.tokens)}
      </p>
      <p
        className="max-h-24 overflow-y-auto text-[0.88rem] whitespace-pre-wrap text-muted wrap-anywhere"
        tabIndex={0}
      >
        {sample.prompt}
      </p>
      <p
        className="max-h-48 overflow-y-auto border-t border-line pt-1.5 text-[0.92rem] whitespace-pre-wrap wrap-anywhere"
        tabIndex={0}
      >
        {sample.answer}
        {!sample.ended && <span className="text-muted"> …</span>}
      </p>
    </article>
  );
}
