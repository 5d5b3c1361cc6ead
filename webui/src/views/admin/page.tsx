/** The admin page: what is live, what trains, which versions exist. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import type { Me } from "../../api";
import { queries } from "../../queries";
import { useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { Curves } from "./curves";
import { useFeed } from "./feed";
import { RunHead, RunList } from "./runs";
import { Steps } from "./steps";
import { Strip } from "./strip";
import { Timeline } from "./timeline";
import { Versions } from "./versions";

export default function AdminPage({ me }: { me: Me }) {
  const texts = useTexts();
  if (me.role !== "admin")
    return (
      <main id="content" className="m-auto">
        <Empty title={texts.admin.onlyAdmins} hint={texts.admin.onlyAdminsHint}>
          <Link href="/" className="btn mt-2">
            {texts.common.toChat}
          </Link>
        </Empty>
      </main>
    );
  return <Dashboard me={me} />;
}

function Dashboard({ me }: { me: Me }) {
  const texts = useTexts();
  const cut = useFeed();
  const status = useQuery(queries.status);
  const runs = useQuery(queries.runs);
  const policies = useQuery(queries.policies);
  const [picked, setPicked] = useState<string | null>(null);
  const items = runs.data?.items ?? [];
  const run = items.find((one) => one.id === picked) ?? status.data?.run ?? items[0] ?? null;

  return (
    <main id="content" className="relative min-h-0 flex-1 overflow-y-auto" tabIndex={0}>
      <h1 className="sr-only">{texts.admin.title}</h1>
      {cut && (
        <p role="status" className="bg-turn-soft px-4 py-1.5 text-center text-[0.9rem] text-turn">
          {texts.admin.liveLine}
        </p>
      )}
      {status.error && !status.data ? (
        <div className="p-5">
          <ProblemLine error={status.error} retry={() => void status.refetch()} />
        </div>
      ) : status.data ? (
        <Strip status={status.data} policies={policies.data} />
      ) : (
        <Loading lines={2} />
      )}
      <div className="mx-auto flex max-w-360 flex-col gap-6 p-4 sm:p-6">
        {status.data?.warnings.map((warning) => (
          <p key={warning} className="flex items-start gap-2 rounded-lg bg-turn-soft px-3 py-2 text-turn">
            <Icon name="warn" className="mt-0.5 size-4.5" />
            <span>
              <span className="sr-only">{texts.admin.warning}: </span>
              {warning}
            </span>
          </p>
        ))}
        <section
          aria-label={texts.admin.run.title}
          className="grid items-start gap-4 lg:grid-cols-[21rem_minmax(0,1fr)]"
        >
          <div className="card overflow-hidden">
            <RunHead run={run} isCurrent={run?.id === status.data?.run?.id} />
            <Steps run={run} status={status.data} />
          </div>
          <Curves run={run} />
        </section>
        <RunList
          runs={runs.data?.items}
          error={runs.error}
          retry={() => void runs.refetch()}
          shown={run?.id ?? null}
          onShow={setPicked}
        />
        <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,1fr)_24rem]">
          <Versions policies={policies.data} error={policies.error} retry={() => void policies.refetch()} />
          <Timeline lines={policies.data?.timeline} me={me} />
        </div>
      </div>
    </main>
  );
}
