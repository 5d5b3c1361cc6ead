/** One task: what was said before, the duel, and the vote on it. */
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { api, type MyQueue } from "../../api";
import { type ShownTurn, shownTurns } from "../../branch";
import { useActions } from "../../keys";
import { useLiveReady, useStreaming } from "../../live";
import { Markdown } from "../../markdown/blocks";
import { queries } from "../../queries";
import { useTexts } from "../../texts/judging";
import { Loading, ProblemLine } from "../../ui/notice";
import type { TurnActions } from "../chat/actions";
import { DuelCards, VoteBar } from "../chat/spoken";
import { useStreams } from "../chat/use-turns";

const Guideline = lazy(() => import("../chat/guideline"));

const NO_ANSWERS: [] = [];
const nothing = () => undefined;

interface Props {
  task: NonNullable<MyQueue["task"]>;
  /** The place was given back: another task may be had. */
  onGivenBack: () => void;
}

export function Task({ task, onGivenBack }: Props) {
  const texts = useTexts();
  const query = useQuery(queries.conversation(task.conversation_id));
  const detail = query.data;
  useStreams(detail);
  const turns = useMemo(() => (detail ? shownTurns(detail) : []), [detail]);
  const [seen, setSeen] = useState(false);
  const [diff, setDiff] = useState(false);
  const [over, setOver] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);

  const last = turns.at(-1);
  const attempt = last?.attempts.find((one) => one.duel?.id === task.duel_id);
  const answers = attempt?.answers ?? NO_ANSWERS;
  const streaming = useStreaming(answers);
  const liveReady = useLiveReady(answers[0]?.stream ?? null);
  const duel = attempt?.duel ?? null;
  const ready = duel !== null && (duel.ready || liveReady);
  useActions({ guideline: () => setOver(true) });

  const giveBack = async () => {
    try {
      await api.queueRelease();
      onGivenBack();
    } catch (error) {
      setProblem(error);
    }
  };
  // A task is judged, not talked to: what a chat can do besides has no place here.
  const actions: TurnActions = {
    again: () => void giveBack(),
    resume: nothing,
    compare: nothing,
    goOn: nothing,
    turnTo: nothing,
    edit: nothing,
    sayInstead: nothing,
    rank: nothing,
    ideal: nothing,
    flag: nothing,
    seenBoth: () => setSeen(true),
    busy: true,
  };

  if (query.error && !detail) return <ProblemLine error={query.error} retry={() => void query.refetch()} />;
  if (!detail || !last || !attempt || !duel) return <Loading lines={6} />;
  return (
    <section aria-label={last.message.text.slice(0, 80)} className="flex flex-col gap-4" data-testid="task">
      {detail.conversation.system_prompt && (
        <details className="text-[0.9rem] text-muted">
          <summary>{texts.queue.system}</summary>
          <p className="mt-1.5 wrap-anywhere whitespace-pre-wrap">{detail.conversation.system_prompt}</p>
        </details>
      )}
      {turns.slice(0, -1).map((turn) => (
        <Before key={turn.message.id} turn={turn} />
      ))}
      <Said text={last.message.text} />
      <DuelCards
        attempt={attempt}
        duel={duel}
        turn={{ ...last, attempts: [attempt], shown: 0 }}
        isLast
        diff={diff}
        actions={actions}
      />
      {problem !== null && <ProblemLine error={problem} />}
      <div className="sticky bottom-0 z-20 bg-paper pt-1">
        <VoteBar
          duel={duel}
          answers={answers}
          ready={ready}
          // Others judge the same two answers, so both are waited for.
          streaming={false}
          seen={seen}
          diff={diff}
          onDiff={() => setDiff(!diff)}
          onGuideline={() => setOver(true)}
        />
        {streaming && <p className="py-2 text-center text-[0.92rem] text-muted">{texts.duel.wait}</p>}
        <p className="pb-2 text-right">
          <button type="button" className="vote-small" onClick={() => void giveBack()}>
            {texts.queue.giveBack}
          </button>
        </p>
      </div>
      <Suspense>{over && <Guideline onClose={() => setOver(false)} />}</Suspense>
    </section>
  );
}

function Said({ text }: { text: string }) {
  const texts = useTexts();
  return (
    <div className="ml-auto w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5">
      <h2 className="sr-only">{texts.queue.prompt}</h2>
      <span className="wrap-anywhere whitespace-pre-wrap">{text}</span>
    </div>
  );
}

/** A turn that is settled: what came before the message to judge. */
function Before({ turn }: { turn: ShownTurn }) {
  return (
    <div className="flex flex-col gap-3 opacity-85">
      <div className="ml-auto w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5 wrap-anywhere whitespace-pre-wrap">
        {turn.message.text}
      </div>
      {turn.chosen && <Markdown text={turn.chosen.text} streaming={false} />}
    </div>
  );
}
