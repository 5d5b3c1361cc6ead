/** The curves of a run: read once, then grown by the feed step by step; earlier runs faintly behind. */
import { useQueries, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { api, type Run, type Stage } from "../../api";
import { Chart, type View } from "../../charts/chart";
import { type Across, tokensSoFar } from "../../charts/draw";
import { series, useColumn, useNames } from "../../charts/series";
import { formatNumber, formatTime } from "../../format";
import { keys } from "../../queries";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Empty, ProblemLine } from "../../ui/notice";
import { consoleQueries } from "../console/calls";

/** What is shown first; whatever else a stage reports stands folded below. */
const FIRST: Record<"ppo" | "reward", readonly string[]> = {
  ppo: [
    "reward_mean",
    "ref_kl",
    "response_length_mean",
    "entropy",
    "perplexity",
    "policy_loss",
    "value_loss",
    "lr",
  ],
  reward: ["loss", "accuracy"],
};
const ALWAYS = ["reward_mean", "ref_kl", "response_length_mean", "perplexity", "loss", "accuracy"];
const STAGES = ["ppo", "reward"] as const;

const metricsOf = (id: string) => ({
  queryKey: keys.metrics(id),
  queryFn: () => api.metrics(id),
  enabled: id !== "",
  staleTime: Number.POSITIVE_INFINITY,
});

export function Curves({ run, runs }: { run: Run | null; runs: Run[] }) {
  const texts = useTexts();
  const id = run?.id ?? "";
  const metrics = useQuery(metricsOf(id));
  const [ghost, setGhost] = useState("");
  const [across, setAcross] = useState<Across>("step");
  const [smoothing, setSmoothing] = useState(0);
  const [log, setLog] = useState(false);
  const ghosts = useMemo(() => (ghost && ghost !== id ? [ghost] : []), [ghost, id]);
  const earlier = useQueries({ queries: ghosts.map(metricsOf) });
  const alerts = useQuery(consoleQueries.alerts(id));
  useEffect(() => series.add(metrics.data?.items ?? []), [metrics.data]);
  const earlierRows = earlier.map((one) => one.data?.items ?? []);
  const came = earlierRows.reduce((sum, rows) => sum + rows.length, 0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows are told apart by how many came
  useEffect(() => series.add(earlierRows.flat()), [came]);
  const rollouts = rolloutsOf(run);
  const lengths = useColumn(id, "ppo", "response_length_mean");
  // biome-ignore lint/correctness/useExhaustiveDependencies: ghosts are drawn again when their rows came
  const view = useMemo(
    (): View => ({
      across,
      smoothing,
      log,
      ghosts,
      marks: alerts.data?.items.map((alert) => alert.step) ?? [],
      tokens: rollouts ? tokensSoFar(lengths, rollouts) : new Map(),
    }),
    [across, smoothing, log, ghosts, alerts.data, lengths, rollouts, came],
  );

  if (!run)
    return (
      <div className="card">
        <Empty title={texts.admin.run.none} hint={texts.admin.run.noneHint} />
      </div>
    );
  const others = runs.filter((one) => one.id !== id && one.started_at);
  return (
    <section aria-label={texts.admin.curves.title} className="flex min-w-0 flex-col gap-4">
      <Options {...{ others, ghost, setGhost, across, setAcross, smoothing, setSmoothing, log, setLog }} hasTokens={rollouts !== null} />
      {metrics.error && <ProblemLine error={metrics.error} retry={() => void metrics.refetch()} />}
      {STAGES.map((stage) => (
        <StageCharts key={stage} run={id} stage={stage} view={view} />
      ))}
    </section>
  ); // biome-ignore format: the options in one line
}

/** Answers of one update, as the run's own settings say it. */
function rolloutsOf(run: Run | null): number | null {
  const section = run?.config?.ppo as { rollouts?: unknown } | undefined;
  return typeof section?.rollouts === "number" ? section.rollouts : null;
}

interface OptionsProps {
  others: Run[];
  ghost: string;
  setGhost: (run: string) => void;
  across: Across;
  setAcross: (across: Across) => void;
  smoothing: number;
  setSmoothing: (weight: number) => void;
  log: boolean;
  setLog: (log: boolean) => void;
  hasTokens: boolean;
}

const SELECT = "field min-h-8 w-auto py-0.5 text-[0.88rem]";

function Options({
  others,
  ghost,
  setGhost,
  across,
  setAcross,
  smoothing,
  setSmoothing,
  log,
  setLog,
  hasTokens,
}: OptionsProps) {
  const texts = useTexts();
  const words = useConsole().training;
  const language = useLanguage();
  return (
    <div className="flex flex-wrap items-center gap-x-5 gap-y-2 text-[0.9rem]">
      <label className="flex items-center gap-2">
        <span className="text-muted">{words.x}</span>
        <select className={SELECT} value={across} onChange={(event) => setAcross(event.target.value as Across)}>
          <option value="step">{words.xs.step}</option>
          <option value="time">{words.xs.time}</option>
          {hasTokens && <option value="tokens">{words.xs.tokens}</option>}
        </select>
      </label>
      <label className="flex items-center gap-2">
        <span className="text-muted">{words.smoothing}</span>
        <input
          type="range"
          className="w-28 accent-(--accent)"
          min={0}
          max={0.98}
          step={0.02}
          value={smoothing}
          onChange={(event) => setSmoothing(event.target.valueAsNumber)}
        />
        <span className="w-10 tabular-nums">{formatNumber(smoothing, language)}</span>
      </label>
      <label className="flex items-center gap-2">
        <input type="checkbox" checked={log} onChange={(event) => setLog(event.target.checked)} />
        {words.log}
      </label>
      {others.length > 0 && (
        <label className="flex items-center gap-2">
          <span className="text-muted">{words.overlay}</span>
          <select className={SELECT} value={ghost} onChange={(event) => setGhost(event.target.value)}>
            <option value="">{words.nothing}</option>
            {others.map((run) => (
              <option key={run.id} value={run.id}>
                {[run.version != null ? texts.common.version(run.version) : texts.admin.run.states[run.state], formatTime(run.created_at, language)].join(" · ")}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  ); // biome-ignore format: an option's words in one line
}

function StageCharts({ run, stage, view }: { run: string; stage: Stage & ("ppo" | "reward"); view: View }) {
  const texts = useTexts().admin.curves;
  const words = useConsole().training;
  const names = useNames(run, stage);
  const first = FIRST[stage].filter((name) => ALWAYS.includes(name) || names.includes(name));
  const others = names.filter((name) => !first.includes(name));
  const [open, setOpen] = useState(false);
  const marked = useMemo(() => (stage === "ppo" ? view : { ...view, marks: [] }), [view, stage]);
  const shown = useMemo(
    () => (stage === "reward" && view.across === "tokens" ? { ...marked, across: "step" as const } : marked),
    [marked, stage, view.across],
  );
  return (
    <div>
      <h2 className="eyebrow mb-1.5">{texts[stage]}</h2>
      <div className="grid gap-3 md:grid-cols-2">
        {first.map((metric) => (
          <Chart key={`${run} ${metric}`} run={run} stage={stage} metric={metric} view={shown} />
        ))}
        {open &&
          others.map((metric) => (
            <Chart key={`${run} ${metric}`} run={run} stage={stage} metric={metric} view={shown} />
          ))}
      </div>
      {others.length > 0 && (
        <button
          type="button"
          className="btn btn-small mt-2"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          {open ? words.fewer : words.more(others.length)}
        </button>
      )}
    </div>
  );
}
