/** What the chat does to its conversation: say something, ask again, turn to another branch, set the prompt. */
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect } from "react";
import { useLocation } from "wouter";
import { api, type Conversation, type Detail, type Mode } from "../../api";
import { follow, onTurnNews } from "../../live";
import { keys, queries, refreshConversations, withTurn } from "../../queries";
import { keepDraft, keepSystemPrompt, systemPromptDraft } from "./drafts";

/** Follows every stream of the conversation that is under way, and reads it anew when one has ended. */
export function useStreams(detail: Detail | undefined) {
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
    const off = onTurnNews((stream) => {
      if (all.includes(stream)) void client.invalidateQueries({ queryKey: keys.conversations });
    });
    return () => {
      off();
      for (const one of letGo) one();
    };
  }, [streams, client]);
}

interface Saying {
  text: string;
  /** The answer that it follows; null at the root. */
  parent: string | null;
}

export function useTurns(id: string | null, detail: Detail | undefined, mode: Mode) {
  const client = useQueryClient();
  const [, go] = useLocation();
  const refresh = useCallback(() => refreshConversations(client), [client]);

  const say = useMutation({
    mutationFn: async ({ text, parent }: Saying) => {
      const target = id ?? (await api.open(systemPromptDraft())).id;
      if (!id) keepSystemPrompt("");
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

  const resume = useMutation({
    mutationFn: async (answerId: string) => {
      const turn = await api.goOn(answerId);
      client.setQueryData<Detail>(keys.conversation(id ?? ""), (before) => before && withTurn(before, turn));
    },
    onSettled: refresh,
  });

  const show = (conversation: Conversation) =>
    client.setQueryData<Detail>(
      keys.conversation(conversation.id),
      (before) => before && { ...before, conversation },
    );
  const goOn = useMutation({
    mutationFn: (leaf: string) => api.change(id ?? "", { leaf_id: leaf }),
    onSuccess: show,
  });
  const prompt = useMutation({
    mutationFn: (system_prompt: string) => api.change(id ?? "", { system_prompt }),
    onSuccess: show,
  });
  return { say, again, resume, goOn, prompt };
}
