/** What is fetched, under which name it is cached, and what a change makes stale. */
import { infiniteQueryOptions, keepPreviousData, QueryClient, queryOptions } from "@tanstack/react-query";
import { api, type Detail, Problem, type Turn, type VoteFilter } from "./api";
import { tellTabs } from "./tabs";

export const keys = {
  me: ["me"] as const,
  setup: ["setup"] as const,
  conversations: ["conversations"] as const,
  list: ["conversations", "list"] as const,
  search: (words: string) => ["conversations", "search", words] as const,
  conversation: (id: string) => ["conversations", "one", id] as const,
  status: ["status"] as const,
  runs: ["runs"] as const,
  metrics: (id: string) => ["metrics", id] as const,
  policies: ["policies"] as const,
  mine: ["mine"] as const,
  queue: ["queue", "next"] as const,
  queueItems: ["queue", "items"] as const,
};

export const queries = {
  me: queryOptions({ queryKey: keys.me, queryFn: api.me, staleTime: 60_000 }),
  setup: queryOptions({ queryKey: keys.setup, queryFn: api.setupNeeded }),
  list: infiniteQueryOptions({
    queryKey: keys.list,
    queryFn: ({ pageParam }) => api.conversations(pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => (page.more ? page.items.at(-1)?.id : undefined),
  }),
  /** A page looks through a part of the conversations. */
  search: (words: string) =>
    infiniteQueryOptions({
      queryKey: keys.search(words),
      queryFn: ({ pageParam }) => api.search(words, pageParam),
      initialPageParam: 0,
      getNextPageParam: (page) => page.next ?? undefined,
      placeholderData: keepPreviousData,
    }),
  guidelines: queryOptions({ queryKey: ["guidelines"], queryFn: api.guidelines, staleTime: 60_000 }),
  conversation: (id: string) =>
    queryOptions({ queryKey: keys.conversation(id), queryFn: () => api.conversation(id) }),
  status: queryOptions({ queryKey: keys.status, queryFn: api.status, refetchInterval: 5000 }),
  runs: queryOptions({ queryKey: keys.runs, queryFn: api.runs }),
  policies: queryOptions({ queryKey: keys.policies, queryFn: api.policies }),
  mine: (filter: VoteFilter) =>
    infiniteQueryOptions({
      queryKey: [...keys.mine, filter],
      queryFn: ({ pageParam }) => api.myVotes(filter, pageParam),
      initialPageParam: undefined as string | undefined,
      getNextPageParam: (page) => page.next ?? undefined,
    }),
  /** Asking again gives the same task until it is judged, so it is asked for when something has changed. */
  queue: queryOptions({ queryKey: keys.queue, queryFn: api.queueNext, staleTime: 60_000 }),
  queueItems: queryOptions({ queryKey: keys.queueItems, queryFn: api.queueItems }),
};

/** What is shown of conversations is read anew, here and in this person's other tabs. */
export function refreshConversations(client: QueryClient): Promise<void> {
  tellTabs();
  return client.invalidateQueries({ queryKey: keys.conversations });
}

/** A client whose calls are tried again only where that can help, and that notices a session's end. */
export function newClient(): QueryClient {
  const client = new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 2000,
        retry: (count, error) => error instanceof Problem && error.passing && count < 3,
        retryDelay: (count) => Math.min(4000, 500 * 2 ** count),
      },
    },
  });
  const signedOut = (error: Error | null) => {
    if (error instanceof Problem && error.status === 401 && client.getQueryData(keys.me))
      void client.resetQueries({ queryKey: keys.me });
  };
  client.getQueryCache().subscribe((event) => {
    if (event.type === "updated" && event.action.type === "error") signedOut(event.action.error);
  });
  client.getMutationCache().subscribe((event) => {
    if (event.type === "updated" && event.action.type === "error") signedOut(event.action.error as Error);
  });
  return client;
}

/** The conversation with a turn that was just opened, or goes on, in it. */
export function withTurn(detail: Detail, turn: Turn): Detail {
  const withOnes = <T extends { id: string }>(known: T[], ones: T[]): T[] => {
    const news = new Map(ones.map((one) => [one.id, one]));
    return [
      ...known.map((one) => news.get(one.id) ?? one),
      ...ones.filter(({ id }) => known.every((one) => one.id !== id)),
    ];
  };
  return {
    ...detail,
    messages: withOnes(detail.messages, [turn.message]),
    answers: withOnes(detail.answers, turn.answers),
    duels: withOnes(detail.duels, turn.duel ? [turn.duel] : []),
  };
}
