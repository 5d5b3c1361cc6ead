/** What starts the next training by itself, and who waits for one. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Me } from "../../api";
import { formatShare, formatTime } from "../../format";
import { keys, queries } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole } from "../../texts/console";
import { usePlanTexts } from "../../texts/console/plan";
import { ProblemLine } from "../../ui/notice";
import { consoleApi, consoleKeys, consoleQueries, type Schedule } from "../console/calls";
import { Card, may } from "../console/guard";
import { isOpen } from "./feed";
import RulesDialog, { ChangedRules } from "./rules";

export default function ScheduleCard({ me }: { me: Me }) {
  const words = useConsole().training;
  const next = usePlanTexts();
  const language = useLanguage();
  const { data } = useQuery(consoleQueries.schedule);
  const run = useQuery(queries.status).data?.run;
  const [isChanging, setChanging] = useState(false);
  if (!data) return null;
  const { outlook, rules } = data;
  const drift = outlook?.drift;
  return (
    <Card
      id="schedule-title"
      title={words.schedule}
      actions={
        may(me, "train") && (
          <button type="button" className="btn btn-small" onClick={() => setChanging(true)}>
            {next.change}
          </button>
        )
      }
    >
      {isChanging && <RulesDialog schedule={data} onClose={() => setChanging(false)} />}
      {data.paused && (
        <p className="mb-2 rounded-lg bg-turn-soft px-3 py-2 text-turn wrap-anywhere">
          {words.pausedSince(formatTime(data.paused.at, language), data.paused.reason)}
        </p>
      )}
      {outlook?.canary != null && (
        <p className="mb-2 rounded-lg bg-turn-soft px-3 py-2 text-turn">
          {next.onTrial(`v${outlook.canary}`)}
        </p>
      )}
      {outlook?.quiet_until && (
        <p className="mb-2 rounded-lg bg-turn-soft px-3 py-2 text-turn">
          {next.quietUntil(formatTime(outlook.quiet_until, language))}
        </p>
      )}
      <p>{words.byVotes(data.pending, rules.min_votes)}</p>
      {rules.every_hours && <p>{words.byTime(rules.every_hours)}</p>}
      {rules.calendar && <p>{next.calendar(rules.calendar, rules.time_zone)}</p>}
      {rules.quiet_hours.length > 0 && <p>{next.quiet(rules.quiet_hours.join(", "), rules.time_zone)}</p>}
      {rules.drift > 0 && <p>{next.byDrift(formatShare(rules.drift, language))}</p>}
      {outlook ? <NextLine outlook={outlook} /> : <p className="text-muted">{next.unseen}</p>}
      {drift && (
        <p className="text-muted">
          {next.drift(drift.right, drift.n, formatShare(drift.at_least, language))}
        </p>
      )}
      {data.oldest_waiting_at && (
        <p className="text-muted">{words.oldest(formatTime(data.oldest_waiting_at, language))}</p>
      )}
      <ChangedRules schedule={data} />
      <Waiting schedule={data} me={me} />
      {run && isOpen(run) && may(me, "train") && <Ask />}
      <p className="mt-1 text-[0.87rem] text-muted">{words.oneAtATime}</p>
    </Card>
  );
}

function NextLine({ outlook }: { outlook: NonNullable<Schedule["outlook"]> }) {
  const next = usePlanTexts();
  const language = useLanguage();
  if (!outlook.next_at || !outlook.because) return null;
  const because = next.because[outlook.because] ?? outlook.because;
  const isNow = outlook.next_at <= outlook.at;
  return (
    <p className="font-medium">
      {isNow ? next.now(because) : next.next(formatTime(outlook.next_at, language), because)}
    </p>
  );
}

function Waiting({ schedule, me }: { schedule: Schedule; me: Me }) {
  const next = usePlanTexts();
  const language = useLanguage();
  const client = useQueryClient();
  const withdraw = useMutation({
    mutationFn: consoleApi.withdrawRequest,
    onSettled: () => client.invalidateQueries({ queryKey: consoleKeys.schedule }),
  });
  if (schedule.requests.length === 0) return null;
  return (
    <div className="mt-2">
      <p className="font-medium">{next.waiting}</p>
      <ol className="flex flex-col gap-1">
        {schedule.requests.map((one) => (
          <li key={one.id} className="flex items-start gap-2 wrap-anywhere">
            <span className="min-w-0 flex-1">
              {[one.name, one.reason, formatTime(one.at, language)].filter(Boolean).join(" · ")}
            </span>
            {may(me, "train") && (
              <button
                type="button"
                className="btn btn-small"
                aria-label={next.withdrawOf(one.name)}
                disabled={withdraw.isPending}
                onClick={() => withdraw.mutate(one.id)}
              >
                {next.withdraw}
              </button>
            )}
          </li>
        ))}
      </ol>
      {withdraw.error && <ProblemLine error={withdraw.error} />}
    </div>
  );
}

/** A training is open: ask for the one after it. */
function Ask() {
  const next = usePlanTexts();
  const client = useQueryClient();
  const [reason, setReason] = useState("");
  const ask = useMutation({
    mutationFn: () => consoleApi.train({ reason: reason.trim() }),
    onSuccess: () => setReason(""),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: consoleKeys.schedule });
      void client.invalidateQueries({ queryKey: keys.status });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    ask.mutate();
  };
  return (
    <details className="mt-2">
      <summary className="font-medium">{next.ask}</summary>
      <form onSubmit={submit} className="mt-1 flex flex-col gap-2">
        <p className="text-muted">{next.askHint}</p>
        <label className="flex flex-col gap-1">
          <span>{next.reason}</span>
          <input
            className="field"
            maxLength={500}
            value={reason}
            onChange={(event) => setReason(event.target.value)}
          />
        </label>
        {ask.error && <ProblemLine error={ask.error} />}
        <button type="submit" className="btn btn-small self-start" disabled={ask.isPending}>
          {next.send}
        </button>
      </form>
    </details>
  );
}
