/** The dashboard: numbers at a glance, the run with its curves, answers along it, alerts, what people did. */
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import type { Me } from "../../api";
import { queries } from "../../queries";
import { useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Closed, may } from "../console/guard";
import { Activity } from "./activity";
import { Curves } from "./curves";
import { Alerts, Samples } from "./details";
import { Unfinished } from "./failed";
import { RunHead, RunList } from "./runs";
import { Steps } from "./steps";
import { Tiles } from "./tiles";

const Checks = lazy(() => import("./checks"));
const FixedPrompts = lazy(() => import("./fixed"));
const HackingPanel = lazy(() => import("./hacking"));
const ScheduleCard = lazy(() => import("./schedule"));
const WhoseVotes = lazy(() => import("./whose"));

export default function AdminPage({ me }: { me: Me }) {
  return may(me, "watch") ? <Dashboard me={me} /> : <Closed needs="watch" />;
}

function Dashboard({ me }: { me: Me }) {
  const texts = useTexts();
  const status = useQuery(queries.status);
  const runs = useQuery(queries.runs);
  const [picked, setPicked] = useState<string | null>(null);
  const items = runs.data?.items ?? [];
  const run = items.find((one) => one.id === picked) ?? status.data?.run ?? items[0] ?? null;

  return (
    <main id="content" className="relative min-h-0 flex-1 overflow-y-auto" tabIndex={0}>
      <h1 className="sr-only">{texts.admin.title}</h1>
      <div className="mx-auto flex max-w-360 flex-col gap-5 p-4 sm:p-6">
        {status.data?.warnings.map((warning) => (
          <p key={warning} className="flex items-start gap-2 rounded-lg bg-turn-soft px-3 py-2 text-turn">
            <Icon name="warn" className="mt-0.5 size-4.5" />
            <span>
              <span className="sr-only">{texts.admin.warning}: </span>
              {warning}
            </span>
          </p>
        ))}
        {status.data && <Tiles status={status.data} runs={items} />}
        <section
          aria-label={texts.admin.run.title}
          className="grid items-start gap-4 lg:grid-cols-[21rem_minmax(0,1fr)]"
        >
          <div className="card overflow-hidden">
            <RunHead run={run} isCurrent={run?.id === status.data?.run?.id} />
            <Steps run={run} status={status.data} />
            {run?.stages.some((one) => one.stage === "freeze" && one.state === "done") && (
              <Suspense fallback={null}>
                <WhoseVotes key={run.id} run={run.id} />
              </Suspense>
            )}
            {run && <Unfinished run={run} isNewest={run.id === items[0]?.id} me={me} />}
          </div>
          <Curves run={run} runs={items} />
        </section>
        {run?.stages.some((stage) => stage.summary?.checks) && (
          <Suspense fallback={null}>
            <Checks run={run} />
          </Suspense>
        )}
        <Suspense fallback={null}>
          <HackingPanel />
        </Suspense>
        <Samples run={run} />
        {run && (
          <Suspense fallback={null}>
            <FixedPrompts run={run} />
          </Suspense>
        )}
        <div className="grid items-start gap-4 lg:grid-cols-3">
          <Alerts run={run} me={me} />
          <Suspense fallback={<div />}>
            <ScheduleCard me={me} />
          </Suspense>
          <Activity me={me} />
        </div>
        <RunList
          runs={runs.data?.items}
          error={runs.error}
          retry={() => void runs.refetch()}
          shown={run?.id ?? null}
          onShow={setPicked}
        />
      </div>
    </main>
  );
}
