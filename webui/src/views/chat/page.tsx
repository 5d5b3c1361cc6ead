/** The chat: the thread of one conversation, the vote on its open duel, and the composer. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState } from "react";
import { useLocation } from "wouter";
import { api, type Detail, type Mode, Problem } from "../../api";
import { type ShownTurn, shownTurns } from "../../branch";
import { follow, onTurnEnd, useLiveReady, useStreaming } from "../../live";
import { useSending } from "../../outbox";
import { keys, queries, withTurn } from "../../queries";
import { useTexts } from "../../texts";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { Composer } from "./composer";
import { keepDraft, useMode } from "./drafts";
import { Thread } from "./thread";
import { Turn, type TurnActions } from "./turn";
import { VoteBar } from "./vote-bar";
import { Welcome } from "./welcome";

const NO_ANSWERS: [] = [];

/** Follows every stream of the conversation that is under way, and reads it anew when one has ended. */
function useStreams(detail: Detail | undefined) {
  const client = useQueryClient();
  const streams = [
    ...new Set(
      (detail?.answers ?? []).flatMap((one) => (one.state === "streaming" && one.stream ? [one.stream] : [])),
    ),
  ].join(" ");
  useEffect(() => {
    if (!streams) return;
    const all = streams.split(" ");
    const letGo = all.map(follow);
    const off = onTurnEnd((stream) => {
      if (all.includes(stream)) void client.invalidateQueries({ queryKey: keys.conversations });
    });
    return () => {
      off();
      for (const one of letGo) one();
    };
  }, [streams, client]);
}

function useTurns(id: string | null, detail: Detail | undefined, turns: ShownTurn[], mode: Mode) {
  const client = useQueryClient();
  const [, go] = useLocation();
  const refresh = useCallback(() => client.invalidateQueries({ queryKey: keys.conversations }), [client]);

  const say = useMutation({
    mutationFn: async (text: string) => {
      const last = turns.at(-1);
      const parent = last?.chosen?.id ?? last?.message.parent_id ?? null;
      const target = id ?? (await api.open()).id;
      try {
        const turn = await api.send(target, text, parent, mode);
        const before = detail ?? (await client.fetchQuery(queries.conversation(target)));
        if (!before.messages.some((one) => one.id === turn.message.id))
          client.setQueryData<Detail>(keys.conversation(target), withTurn(before, turn));
      } catch (problem) {
        // The server keeps a message that it cannot answer yet: then it stands in the thread, not in the composer.
        const now = await client.fetchQuery(queries.conversation(target)).catch(() => undefined);
        const known = new Set(detail?.messages.map((one) => one.id));
        const isKept = now?.messages.some((one) => one.text === text && !known.has(one.id));
        if (!isKept) {
          keepDraft(target, text);
          if (!id) go(`/c/${target}`);
          throw problem;
        }
      }
      if (!id) go(`/c/${target}`);
    },
    onSettled: refresh,
  });

  const again = useMutation({
    mutationFn: async ({ messageId, asMode }: { messageId: string; asMode: Mode }) => {
      const turn = await api.answerAgain(id ?? "", messageId, asMode);
      client.setQueryData<Detail>(keys.conversation(id ?? ""), (before) => before && withTurn(before, turn));
    },
    onSettled: refresh,
  });

  const goOn = useMutation({
    mutationFn: (leaf: string) => api.change(id ?? "", { leaf_id: leaf }),
    onSuccess: (conversation) =>
      client.setQueryData<Detail>(
        keys.conversation(id ?? ""),
        (before) => before && { ...before, conversation },
      ),
  });
  return { say, again, goOn };
}

export function ChatPage({ id }: { id: string | null }) {
  const texts = useTexts();
  const query = useQuery({ ...queries.conversation(id ?? ""), enabled: id !== null });
  const detail = query.data;
  const turns = useMemo(() => (detail ? shownTurns(detail) : []), [detail]);
  const [mode, setMode] = useMode();
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const { say, again, goOn } = useTurns(id, detail, turns, mode);
  useStreams(detail);

  const last = turns.at(-1);
  const attempt = last?.attempts[last.shown];
  const streaming = useStreaming(attempt?.answers ?? NO_ANSWERS);
  const liveReady = useLiveReady(attempt?.answers[0]?.stream ?? null);
  const duel = attempt?.duel ?? null;
  const sending = useSending(duel?.id ?? "");
  const undecided = duel !== null && !duel.vote && (!sending || sending.state === "refused");
  const ready = duel !== null && (duel.ready || liveReady);

  const stop = useCallback(() => {
    for (const answer of attempt?.answers ?? [])
      if (answer.state === "streaming") void api.stop(answer.id).catch(() => undefined);
  }, [attempt]);
  useEffect(() => {
    if (!streaming) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]"))
        stop();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [streaming, stop]);

  const actions: TurnActions = {
    again: (messageId, asMode) => again.mutate({ messageId, asMode: asMode ?? mode }),
    goOn: (answerId) => goOn.mutate(answerId),
    seenBoth: (duelId) => setSeen((before) => new Set(before).add(duelId)),
    busy: again.isPending || goOn.isPending,
  };

  if (query.error instanceof Problem && query.error.status === 404)
    return (
      <main id="content" className="m-auto">
        <Empty title={texts.chat.gone} hint={texts.chat.goneHint} />
      </main>
    );

  const problem = say.error ?? again.error ?? goOn.error;
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
        <Thread key={id}>
          {id !== null && query.isPending && <Loading />}
          {(id === null || detail) && turns.length === 0 && !say.isPending && (
            <Welcome pick={(text) => say.mutate(text)} />
          )}
          {turns.map((turn) => (
            <Turn key={turn.message.id} turn={turn} isLast={turn === last} actions={actions} />
          ))}
          {say.isPending && <Said text={say.variables} />}
        </Thread>
      )}
      <footer className="px-3 pb-3 sm:px-5">
        {problem && (
          <div className="mx-auto mb-2 max-w-190">
            <ProblemLine error={problem} />
          </div>
        )}
        {duel && (
          <VoteBar key={duel.id} duel={duel} ready={ready} streaming={streaming} seen={seen.has(duel.id)} />
        )}
        <Composer
          key={id ?? "new"}
          id={id}
          onSend={(text) => say.mutate(text)}
          onStop={stop}
          sending={say.isPending}
          streaming={streaming}
          blocked={undecided && ready}
          mode={mode}
          onMode={setMode}
        />
      </footer>
    </main>
  );
}

/** The message that is on its way to the server. */
function Said({ text }: { text: string }) {
  const texts = useTexts();
  return (
    <div className="mx-auto flex w-full max-w-190 flex-col gap-4">
      <p className="ml-auto w-fit max-w-[85%] rounded-2xl rounded-br-md bg-hover px-4 py-2.5 whitespace-pre-wrap opacity-70">
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
