/** The annotators' queue: one stored prompt after the other, judged blind, with the guidelines beside it. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import type { Me, MyQueue } from "../../api";
import { formatNumber } from "../../format";
import { capOf, useActions, useKeys } from "../../keys";
import { outbox, type Sending, useSending } from "../../outbox";
import { keys, queries } from "../../queries";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/judging";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { GuidelinePanel } from "./guidelines";
import { Task } from "./task";
import "./queue.css";

const Manage = lazy(() => import("./manage"));

/** The task that the person judged last, for the way back. */
interface Judged {
  duel: string;
  said: string;
}

export default function QueuePage({ me }: { me: Me }) {
  const texts = useTexts();
  const client = useQueryClient();
  const query = useQuery(queries.queue);
  const [judged, setJudged] = useState<Judged | null>(null);
  const [managing, setManaging] = useState(false);
  const duel = query.data?.task?.duel_id ?? null;
  const next = () => void client.invalidateQueries({ queryKey: keys.queue });

  const sending = useSending(duel ?? "");
  const counted = sending?.state === "counted";
  const said = counted ? saidOf(sending, texts) : "";
  useEffect(() => {
    if (!counted || !duel) return;
    setJudged({ duel, said });
    void client.invalidateQueries({ queryKey: keys.queue });
  }, [counted, duel, said, client]);

  return (
    <main id="content" className="min-h-0 flex-1 overflow-y-auto" aria-label={texts.queue.title}>
      <div className="mx-auto flex max-w-360 flex-col gap-4 p-3 sm:p-5">
        <header className="flex flex-wrap items-center gap-x-4 gap-y-2">
          <h1 className="text-[1.3rem] font-semibold">{texts.queue.title}</h1>
          {query.data && <Progress queue={query.data} />}
          <span className="flex-1" />
          {me.role === "admin" && (
            <button
              type="button"
              className="btn btn-small"
              aria-expanded={managing}
              onClick={() => setManaging(!managing)}
            >
              {managing ? texts.queue.toTasks : texts.queue.manage}
            </button>
          )}
        </header>
        {managing ? (
          <Suspense fallback={<Loading lines={6} />}>
            <Manage onChanged={next} />
          </Suspense>
        ) : (
          <div className="grid items-start gap-5 min-[1100px]:grid-cols-[20rem_minmax(0,1fr)]">
            <GuidelinePanel />
            <div className="flex min-w-0 flex-col gap-4">
              {judged && judged.duel !== duel && <LastVerdict judged={judged} onUndone={next} />}
              {query.isPending && <Loading lines={6} />}
              {query.error && <ProblemLine error={query.error} retry={() => void query.refetch()} />}
              {query.data && !query.data.task && (
                <NothingWaits queue={query.data} again={() => void query.refetch()} />
              )}
              {query.data?.task && (
                <Task key={query.data.task.duel_id} task={query.data.task} onGivenBack={next} />
              )}
            </div>
          </div>
        )}
      </div>
    </main>
  );
}

function saidOf(sending: Sending | undefined, texts: ReturnType<typeof useTexts>): string {
  if (sending?.state !== "counted" || sending.vote.kind !== "duel") return "";
  return texts.mine.said(sending.vote.choice, sending.vote.strength);
}

function Progress({ queue }: { queue: MyQueue }) {
  const texts = useTexts();
  const language = useLanguage();
  const share = queue.all_wanted ? queue.all_done / queue.all_wanted : 0;
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-[0.9rem] text-muted">
      <progress
        className="queue-progress"
        value={share}
        max={1}
        aria-label={texts.queue.progress(queue.all_done, queue.all_wanted)}
      />
      <span className="tabular-nums">{texts.queue.progress(queue.all_done, queue.all_wanted)}</span>
      <span className="tabular-nums">{texts.queue.yours(queue.done, queue.left)}</span>
      {queue.seconds !== null && (
        <span className="tabular-nums">
          {texts.queue.pace(formatNumber(Math.round(queue.seconds), language))}
        </span>
      )}
    </div>
  );
}

/** What was said last, and the way back to it. */
function LastVerdict({ judged, onUndone }: { judged: Judged; onUndone: () => void }) {
  const texts = useTexts();
  const bindings = useKeys();
  const sending = useSending(judged.duel);
  const settled = useRef(onUndone);
  settled.current = onUndone;
  useEffect(() => outbox.onSettled((target) => target === judged.duel && settled.current()), [judged.duel]);
  const canUndo = sending?.state === "counted" && !sending.problem;
  const undo = () => outbox.undo(judged.duel);
  useActions({ voteUndo: canUndo ? undo : undefined });
  return (
    <div role="status" className="flex flex-wrap items-center gap-2.5 text-[0.9rem] text-muted">
      <span>{sending?.state === "undone" ? texts.queue.undone : texts.queue.last(judged.said)}</span>
      {canUndo && (
        <button type="button" className="btn btn-small" onClick={undo} aria-keyshortcuts={bindings.voteUndo}>
          {texts.duel.undo}
          <span className="key" aria-hidden="true">
            {capOf(bindings.voteUndo)}
          </span>
        </button>
      )}
    </div>
  );
}

function NothingWaits({ queue, again }: { queue: MyQueue; again: () => void }) {
  const texts = useTexts();
  return (
    <div className="card">
      <Empty
        title={queue.done ? texts.queue.allDone : texts.queue.empty}
        hint={queue.left ? texts.queue.othersHave(queue.left) : texts.queue.emptyHint}
      >
        <button type="button" className="btn btn-small mt-2" onClick={again}>
          {texts.queue.lookAgain}
        </button>
      </Empty>
    </div>
  );
}
