/** The loop as nine steps, one way round: the first four always go on, the others are the run's stages. */
import { useEffect, useState } from "react";
import type { Run, StageStatus, Status } from "../../api";
import { useProgress } from "../../charts/series";
import { formatDuration, formatNumber } from "../../format";
import { type Language, useLanguage } from "../../texts";
import { type Texts, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";

type Dot = "always" | StageStatus["state"];

interface StepProps {
  number: number;
  name: string;
  hint: string;
  dot: Dot;
  time?: string;
  facts?: string[];
}

const STAGES = ["freeze", "reward", "ppo", "gate", "release"] as const;
const LONGEST_FACT = 60;

/** The time, told anew each second while something runs. */
function useNow(running: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return now;
}

/** A stage's summary as short facts; what is long or nested belongs on the run's own record. */
export function factsOf(summary: StageStatus["summary"], texts: Texts, language: Language): string[] {
  return Object.entries(summary ?? {}).flatMap(([key, value]) => {
    const name = texts.admin.summary[key] ?? key.replaceAll("_", " ");
    if (typeof value === "number") return [`${name} ${formatNumber(value, language)}`];
    if (typeof value === "boolean") return [`${name} ${value ? texts.admin.yes : texts.admin.no}`];
    if (typeof value !== "string" || value === "") return [];
    if (/^[0-9a-f]{40,}$/.test(value)) return [`${name} ${value.slice(0, 10)}`];
    return [`${name} ${value.length > LONGEST_FACT ? `${value.slice(0, LONGEST_FACT)}…` : value}`];
  });
}

function timeOf(stage: StageStatus | undefined, now: number, language: Language): string | undefined {
  if (!stage?.started_at) return undefined;
  const end = stage.ended_at ? Date.parse(stage.ended_at) : now;
  return formatDuration(end - Date.parse(stage.started_at), language);
}

export function Steps({ run, status }: { run: Run | null; status: Status | undefined }) {
  const texts = useTexts();
  const steps = texts.admin.steps;
  const language = useLanguage();
  const now = useNow(run?.state === "running");
  const running = run?.stages.find((one) => one.state === "running")?.stage ?? "freeze";
  const progress = useProgress(run?.id ?? "", running);
  const [step = "", of] = progress.split("/");
  const inFlight = (status?.engines ?? []).reduce((sum, engine) => sum + engine.in_flight, 0);
  const votes = status?.votes;
  const due: Dot = run && run.state !== "queued" ? "done" : run ? "running" : "waiting";
  const all: StepProps[] = [
    { number: 1, name: steps.turn, hint: steps.turnHint, dot: "always" },
    {
      number: 2,
      name: steps.stream,
      hint: inFlight > 0 ? steps.streaming(inFlight) : steps.streamHint,
      dot: "always",
    },
    { number: 3, name: steps.vote, hint: votes ? steps.voteHint(votes.total) : "", dot: "always" },
    {
      number: 4,
      name: steps.due,
      hint: votes ? steps.dueHint(votes.pending, votes.min_votes) : "",
      dot: due,
    },
    ...STAGES.map((name, index): StepProps => {
      const stage = run?.stages.find((one) => one.stage === name);
      const facts = stage ? factsOf(stage.summary, texts, language) : [];
      const isAt = stage?.state === "running" && progress !== "";
      return {
        number: index + 5,
        name: steps[name],
        hint: isAt ? steps.stepOf(step, of) : steps[`${name}Hint`],
        dot: stage?.state ?? "waiting",
        time: timeOf(stage, now, language),
        facts,
      };
    }),
  ];
  return (
    <ol aria-label={steps.label} className="px-4 pt-1 pb-3">
      {all.map((step) => (
        <Step key={step.number} {...step} isLast={step.number === all.length} />
      ))}
    </ol>
  );
}

const DOT: Record<Dot, string> = {
  always: "border-line-strong bg-surface text-muted",
  waiting: "border-line bg-surface text-muted",
  skipped: "border-line bg-sunken text-muted",
  running: "border-turn bg-turn-soft text-turn",
  done: "border-accent bg-accent-soft text-accent",
  failed: "border-bad bg-bad-soft text-bad",
};

function Step({ number, name, hint, dot, time, facts = [], isLast }: StepProps & { isLast: boolean }) {
  const steps = useTexts().admin.steps;
  const state = dot === "always" ? steps.always : steps.states[dot];
  return (
    <li className="relative flex gap-3 pb-2.5" aria-current={dot === "running" ? "step" : undefined}>
      {!isLast && <span className="absolute top-7 bottom-0 left-[0.8rem] w-px bg-line" aria-hidden="true" />}
      <span
        className={`mt-0.5 grid size-6.5 shrink-0 place-items-center rounded-full border text-[0.82rem] font-semibold ${DOT[dot]}`}
        aria-hidden="true"
      >
        {dot === "done" ? (
          <Icon name="check" className="size-4" />
        ) : dot === "failed" ? (
          <Icon name="close" className="size-3.5" />
        ) : (
          number
        )}
      </span>
      <div className="min-w-0 flex-1">
        <p className="flex items-baseline gap-2">
          <span className="font-semibold">{name}</span>
          <span
            className={`text-[0.82rem] ${dot === "running" ? "font-semibold text-turn" : dot === "failed" ? "text-bad" : "text-muted"}`}
          >
            {state}
          </span>
          <span className="flex-1" />
          <span className="text-[0.85rem] text-muted tabular-nums">{time}</span>
        </p>
        <p className="text-[0.87rem] wrap-anywhere text-muted">
          {facts.length > 0 ? facts.join(" · ") : hint}
        </p>
      </div>
    </li>
  );
}
