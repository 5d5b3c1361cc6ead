/** Versions: what was live when, where each came from, and each in detail. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Me, Policies } from "../../api";
import { queries } from "../../queries";
import { useConsole, useTexts } from "../../texts/console";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries } from "../console/calls";
import { Card, Closed, may, Page } from "../console/guard";
import { CanaryCard } from "./canary";
import { Compare } from "./compare";
import { Drawer } from "./drawer";
import { Graph } from "./graph";
import { ServingTimeline } from "./serving";

export default function VersionsPage({ me }: { me: Me }) {
  return may(me, "watch") ? <Versions me={me} /> : <Closed needs="watch" />;
}

function Versions({ me }: { me: Me }) {
  const texts = useTexts().admin.versions;
  const words = useConsole().versions;
  const policies = useQuery(queries.policies);
  return (
    <Page title={texts.title} lead={words.lead}>
      {policies.error && !policies.data && (
        <ProblemLine error={policies.error} retry={() => void policies.refetch()} />
      )}
      {!policies.data && !policies.error && <Loading lines={5} />}
      {policies.data?.items.length === 0 && (
        <div className="card">
          <Empty title={texts.none} hint={texts.noneHint} />
        </div>
      )}
      {policies.data && policies.data.items.length > 0 && <Lineage policies={policies.data} me={me} />}
    </Page>
  );
}

function Lineage({ policies, me }: { policies: Policies; me: Me }) {
  const words = useConsole().versions;
  const history = useQuery(consoleQueries.history);
  const [open, setOpen] = useState<number>(policies.active ?? policies.items[0]?.number ?? 1);
  const [marked, setMarked] = useState<number[]>([]);
  const mark = (number: number) =>
    setMarked((before) =>
      before.includes(number) ? before.filter((one) => one !== number) : [...before, number].slice(-2),
    );
  const [first, second] = marked;
  return (
    <>
      {policies.canary && <CanaryCard canary={policies.canary} active={policies.active} me={me} />}
      <div className="grid items-start gap-4 xl:grid-cols-[25rem_minmax(0,1fr)]">
        <div className="flex min-w-0 flex-col gap-4">
          <Card id="lineage-title" title={words.lineage} hint={words.keys} flush>
            <Graph versions={policies.items} open={open} onOpen={setOpen} marked={marked} onMark={mark} />
          </Card>
          <Card id="serving-title" title={words.serving}>
            <ServingTimeline
              timeline={policies.timeline}
              canaries={history.data?.canaries ?? []}
              me={me}
              onOpen={setOpen}
            />
          </Card>
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          {first !== undefined && second !== undefined && (
            <Compare versions={policies.items} first={first} second={second} onClose={() => setMarked([])} />
          )}
          <Drawer number={open} policies={policies} me={me} />
        </div>
      </div>
    </>
  );
}
