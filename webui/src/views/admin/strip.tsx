/** The strip on top: live version, canary, next training, the run, engines, what is wrong; and the three actions. */
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link } from "wouter";
import type { Engine, Me, Status } from "../../api";
import { formatShare, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { PHONE, useMedia } from "../../ui/media";
import { consoleQueries, type SystemProblem } from "../console/calls";
import { Actions } from "./actions";

export function Strip({ status, me }: { status: Status; me: Me }) {
  const words = useConsole().training;
  const texts = useTexts().admin.strip;
  const common = useTexts().common;
  const run = useTexts().admin.run;
  const steps = useTexts().admin.steps;
  const language = useLanguage();
  const { pending, min_votes, total } = status.votes;
  const due = pending >= min_votes;
  const stage = status.run?.stages.find((one) => one.state === "running")?.stage;
  const phone = useMedia(PHONE);
  const [open, setOpen] = useState(false);
  const problems = useQuery(consoleQueries.system).data?.problems;
  const shown = [
    problems?.length ? texts.problems(problems.length) : "",
    status.active ? common.version(status.active.number) : texts.none,
    due ? texts.due : texts.votes(pending, min_votes),
    status.run ? (stage ? steps[stage] : run.states[status.run.state]) : texts.idle,
  ];
  return (
    <section
      aria-label={texts.label}
      className="shrink-0 border-b border-line bg-surface px-4 py-2.5 max-lg:max-h-[60dvh] max-lg:overflow-y-auto sm:px-6"
    >
      {phone && (
        <button
          type="button"
          className="flex w-full items-center gap-2 text-left text-[0.92rem]"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          <span className="min-w-0 flex-1 truncate">{shown.filter(Boolean).join(" · ")}</span>
          <Icon name={open ? "fold" : "unfold"} className="size-4.5 text-muted" />
        </button>
      )}
      <div
        className={`mx-auto max-w-348 flex-wrap items-stretch gap-x-6 gap-y-3 ${phone ? "pt-2" : ""} ${phone && !open ? "hidden" : "flex"}`}
      >
        <Cell name={texts.live}>
          {status.active ? (
            <>
              <Big>{common.version(status.active.number)}</Big>
              <Small>
                {status.active.since ? texts.since(formatTime(status.active.since, language)) : ""}
              </Small>
            </>
          ) : (
            <Small>{texts.none}</Small>
          )}
        </Cell>
        <Cell name={words.canary}>
          <Big>{status.canary ? common.version(status.canary.number) : common.none}</Big>
          <Small>{status.canary ? formatShare(status.canary.share, language) : texts.noCanary}</Small>
        </Cell>
        <Cell name={texts.next}>
          <Big>{due ? texts.due : texts.votes(pending, min_votes)}</Big>
          <progress
            className="mt-1 h-1.5 w-36 appearance-none overflow-hidden rounded-full bg-hover [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-hover [&::-webkit-progress-value]:bg-accent"
            max={min_votes}
            value={Math.min(pending, min_votes)}
            aria-label={texts.votes(pending, min_votes)}
          />
          <Small>{status.paused ? words.paused : texts.total(total)}</Small>
        </Cell>
        <Cell name={texts.run}>
          <Big>{status.run ? (stage ? steps[stage] : run.states[status.run.state]) : common.none}</Big>
          <Small>
            {status.run
              ? status.run.cancel_requested
                ? run.stopping
                : run.states[status.run.state]
              : texts.idle}
          </Small>
        </Cell>
        <Cell name={texts.engines}>
          {status.engines.length === 0 && <Small>{texts.noEngines}</Small>}
          <ul className="flex flex-col gap-0.5">
            {status.engines.map((engine) => (
              <EngineLine key={engine.name} engine={engine} />
            ))}
          </ul>
        </Cell>
        <Cell name={texts.health}>
          <Health problems={problems} />
        </Cell>
        <Actions status={status} me={me} />
      </div>
    </section>
  );
}

/** What is wrong, in words, and the way to its fix. */
function Health({ problems }: { problems: SystemProblem[] | undefined }) {
  const texts = useTexts().admin.strip;
  const kinds = useConsole().system.kinds;
  if (!problems) return <Small>…</Small>;
  const [worst] = problems;
  if (!worst)
    return (
      <span className="flex items-center gap-2 text-[0.9rem]">
        <span className="size-2 rounded-full bg-accent" />
        {texts.fine}
      </span>
    );
  return (
    <Link href="/system" className={`max-w-52 ${worst.severity === "bad" ? "text-bad" : "text-turn"}`}>
      <span className="block truncate text-[0.95rem] font-semibold" title={worst.what}>
        {kinds[worst.kind]}
      </span>
      <span className="text-[0.87rem] underline">{texts.problems(problems.length)}</span>
    </Link>
  );
}

function Cell({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex min-w-28 flex-col">
      <h2 className="eyebrow">{name}</h2>
      {children}
    </div>
  );
}

const Big = ({ children }: { children: ReactNode }) => (
  <span className="text-[1.15rem] leading-snug font-semibold tabular-nums">{children}</span>
);
const Small = ({ children }: { children: ReactNode }) => (
  <span className="text-[0.87rem] text-muted">{children}</span>
);

const ENGINE_COLOUR: Record<Engine["state"], string> = {
  ready: "bg-accent",
  loading: "bg-turn",
  starting: "bg-turn",
  down: "bg-bad",
};

function EngineLine({ engine }: { engine: Engine }) {
  const texts = useTexts().admin;
  return (
    <li className="flex items-center gap-2 text-[0.9rem]" title={engine.error ?? engine.address}>
      <span className={`size-2 rounded-full ${ENGINE_COLOUR[engine.state]}`} />
      <span>{texts.strip.engine(engine.name, texts.engineStates[engine.state], engine.in_flight)}</span>
      {engine.version != null && <span className="text-muted">{texts.strip.serving(engine.version)}</span>}
    </li>
  );
}
