/** The chat: the thread of one conversation, the vote on its open duel, and the composer. */
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { type Answer, api, type Message, Problem } from "../../api";
import { leafBelow, type ShownTurn, shownTurns } from "../../branch";
import { useActions } from "../../keys";
import { useLiveReady, useStreaming } from "../../live";
import { givenVote, useSending } from "../../outbox";
import { queries } from "../../queries";
import { useTexts } from "../../texts";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import type { TurnActions } from "./actions";
import { Composer } from "./composer";
import { keepSystemPrompt, systemPromptDraft, useMode } from "./drafts";
import { Thread } from "./thread";
import { useStreams, useTurns } from "./use-turns";
import { Welcome } from "./welcome";

// A first visit shows no answer yet, so what shows and votes on them comes after the page; it is asked for at once.
const spoken = import("./spoken");
const Turn = lazy(async () => ({ default: (await spoken).Turn }));
const VoteBar = lazy(async () => ({ default: (await spoken).VoteBar }));
const Ranking = lazy(() => import("./ranking"));
const IdealAnswer = lazy(() => import("./ideal"));
const Flag = lazy(() => import("./flag"));
const SystemPrompt = lazy(() => import("./system-prompt"));
const Guideline = lazy(() => import("./guideline"));

const NO_ANSWERS: [] = [];

/** What lies over the chat. */
type Over =
  | { kind: "ranking"; answers: Answer[] }
  | { kind: "ideal"; answer: Answer }
  | { kind: "flag"; message: Message }
  | { kind: "system" }
  | { kind: "guideline" };

export function ChatPage({ id }: { id: string | null }) {
  const texts = useTexts();
  const query = useQuery({ ...queries.conversation(id ?? ""), enabled: id !== null });
  const detail = query.data;
  const turns = useMemo(() => (detail ? shownTurns(detail) : []), [detail]);
  const [mode, setMode] = useMode();
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const [editing, setEditing] = useState<string | null>(null);
  const [over, setOver] = useState<Over | null>(null);
  /** The duel whose differences are marked. */
  const [diffOf, setDiffOf] = useState<string | null>(null);
  const [newPrompt, setNewPrompt] = useState(systemPromptDraft);
  const { say, again, resume, goOn, prompt } = useTurns(id, detail, mode);
  useStreams(detail);

  const last = turns.at(-1);
  const attempt = last?.attempts[last.shown];
  const answers = attempt?.answers ?? NO_ANSWERS;
  const streaming = useStreaming(answers);
  const liveReady = useLiveReady(answers[0]?.stream ?? null);
  const duel = attempt?.duel ?? null;
  const sending = useSending(duel?.id ?? "");
  const undone = sending?.state === "undone";
  const returned = useReturned(last, streaming);
  const undecided = duel !== null && (undone || (!duel.vote && !givenVote(sending)));
  const ready = duel !== null && (duel.ready || liveReady);

  const stop = useCallback(() => {
    for (const answer of answers)
      if (answer.state === "streaming") void api.stop(answer.id).catch(() => undefined);
  }, [answers]);
  useEffect(() => {
    if (!streaming) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]"))
        stop();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [streaming, stop]);
  useActions({
    write: () => document.getElementById("composer")?.focus(),
    guideline: duel ? () => setOver({ kind: "guideline" }) : undefined,
  });

  const busy = again.isPending || resume.isPending || goOn.isPending || say.isPending;
  const actions: TurnActions = {
    again: (messageId, asMode) => again.mutate({ messageId, asMode: asMode ?? mode }),
    compare: (messageId) => again.mutate({ messageId, asMode: mode === "single" ? "single" : "duel" }),
    resume: (answer) => resume.mutate(answer.id),
    goOn: (leaf) => goOn.mutate(leaf),
    turnTo: (message) => detail && goOn.mutate(leafBelow(message, detail)),
    edit: setEditing,
    sayInstead: (turn, text) => {
      setEditing(null);
      say.mutate({ text, parent: turn.message.parent_id });
    },
    rank: (ranked) => setOver({ kind: "ranking", answers: ranked }),
    ideal: (answer) => setOver({ kind: "ideal", answer }),
    flag: (message) => setOver({ kind: "flag", message }),
    seenBoth: (duelId) => setSeen((before) => new Set(before).add(duelId)),
    busy,
  };
  const parentOfNext = (turn: ShownTurn | undefined) => turn?.chosen?.id ?? turn?.message.parent_id ?? null;
  const send = (text: string) => {
    // The same words again are no other wording of the message: it is answered again.
    if (last && text === returned) again.mutate({ messageId: last.message.id, asMode: mode });
    else say.mutate({ text, parent: parentOfNext(last) });
  };
  const systemPrompt = detail ? (detail.conversation.system_prompt ?? "") : newPrompt;
  const setSystemPrompt = (text: string) => {
    if (id) return prompt.mutate(text);
    keepSystemPrompt(text);
    setNewPrompt(text);
  };

  if (query.error instanceof Problem && query.error.status === 404)
    return (
      <main id="content" className="m-auto">
        <Empty title={texts.chat.gone} hint={texts.chat.goneHint} />
      </main>
    );

  const problem = say.error ?? again.error ?? resume.error ?? goOn.error ?? prompt.error;
  return (
    <main
      id="content"
      className="flex min-h-0 flex-1 flex-col"
      aria-label={detail?.conversation.title || texts.rail.untitled}
    >
      <h1 className="sr-only">{detail?.conversation.title || texts.rail.untitled}</h1>
      {query.error && !detail ? (
        <div className="mx-auto w-full max-w-190 p-4">
          <ProblemLine error={query.error} retry={() => void query.refetch()} />
        </div>
      ) : (
        <Thread key={id} sending={say.isPending} streaming={streaming}>
          {id !== null && query.isPending && <Loading />}
          {(id === null || detail) && turns.length === 0 && !say.isPending && <Welcome pick={send} />}
          <Suspense fallback={<Loading />}>
            {turns.map((turn) => (
              <Turn
                key={turn.message.id}
                turn={turn}
                isLast={turn === last}
                editing={editing === turn.message.id}
                diff={diffOf !== null && diffOf === duel?.id}
                actions={actions}
              />
            ))}
          </Suspense>
          {say.isPending && <Said text={say.variables.text} />}
        </Thread>
      )}
      <footer className="px-3 pb-3 sm:px-5">
        {problem && (
          <div className="mx-auto mb-2 max-w-190">
            <ProblemLine error={problem} />
          </div>
        )}
        {duel && (
          <Suspense>
            <VoteBar
              key={duel.id}
              duel={duel}
              answers={answers}
              ready={ready}
              streaming={streaming}
              seen={seen.has(duel.id)}
              diff={diffOf === duel.id}
              onDiff={() => setDiffOf(diffOf === duel.id ? null : duel.id)}
              onGuideline={() => setOver({ kind: "guideline" })}
            />
          </Suspense>
        )}
        <Composer
          key={id ?? "new"}
          id={id}
          onSend={send}
          onStop={stop}
          onEditLast={last && !busy ? () => setEditing(last.message.id) : undefined}
          sending={say.isPending}
          streaming={streaming}
          blocked={undecided && ready}
          mode={mode}
          onMode={setMode}
          systemPrompt={systemPrompt}
          onSystemPrompt={() => setOver({ kind: "system" })}
          returned={returned}
        />
      </footer>
      <Suspense>
        {over?.kind === "ranking" && <Ranking answers={over.answers} onClose={() => setOver(null)} />}
        {over?.kind === "ideal" && <IdealAnswer answer={over.answer} onClose={() => setOver(null)} />}
        {over?.kind === "flag" && <Flag id={id ?? ""} message={over.message} onClose={() => setOver(null)} />}
        {over?.kind === "guideline" && <Guideline onClose={() => setOver(null)} />}
        {over?.kind === "system" && (
          <SystemPrompt
            text={systemPrompt}
            isBegun={turns.length > 0}
            onSave={setSystemPrompt}
            onClose={() => setOver(null)}
          />
        )}
      </Suspense>
    </main>
  );
}

/** The last message, when this page saw its answers begin and all of them fail without a word. */
function useReturned(last: ShownTurn | undefined, streaming: boolean): string | null {
  const attempt = last?.attempts[last.shown];
  const watched = useRef<string | null>(null);
  useEffect(() => {
    if (streaming && attempt) watched.current = attempt.key;
  }, [streaming, attempt]);
  const isLost = attempt?.answers.every((one) => one.state === "failed" && one.text === "") ?? false;
  return last && isLost && watched.current === attempt?.key ? last.message.text : null;
}

/** The message that is on its way to the server. */
function Said({ text }: { text: string }) {
  const texts = useTexts();
  return (
    <div className="mx-auto flex w-full max-w-190 flex-col gap-4">
      <p className="ml-auto w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5 wrap-anywhere whitespace-pre-wrap opacity-70">
        {text}
      </p>
      <div role="status" className="flex flex-col gap-3 py-2">
        <span className="sr-only">{texts.chat.waiting}</span>
        <div className="waiting-line w-3/4" />
        <div className="waiting-line w-1/2" />
      </div>
    </div>
  );
}
