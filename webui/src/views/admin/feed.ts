/** The admin feed: what happens is written into what was fetched, so that nothing is fetched again for it. */
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Run, Status } from "../../api";
import { series } from "../../charts/series";
import { FEED_EVENTS, type FeedEvent, openLine } from "../../events";
import { keys } from "../../queries";

export const isOpen = (run: Run | null | undefined): boolean =>
  run?.state === "queued" || run?.state === "running";

/** Puts one event of the feed into the cache. */
export function takeFeedEvent(client: QueryClient, event: FeedEvent): void {
  const status = (change: (before: Status) => Status): void => {
    client.setQueryData<Status>(keys.status, (before) => before && change(before));
  };
  switch (event.type) {
    case "metric":
      series.add([event.data]);
      return;
    case "run":
      takeRun(client, event.data);
      status((before) => {
        if (isOpen(event.data)) return { ...before, run: event.data };
        return before.run?.id === event.data.id ? { ...before, run: null } : before;
      });
      return;
    case "policy":
      void client.invalidateQueries({ queryKey: keys.policies });
      void client.invalidateQueries({ queryKey: keys.status });
      return;
    case "vote":
      void client.invalidateQueries({ queryKey: keys.status });
      return;
    case "opinions":
      for (const queryKey of [["opinion"], ["vote"], ["hacking"]])
        void client.invalidateQueries({ queryKey });
      return;
    case "engines":
      status((before) => ({ ...before, engines: event.data.engines }));
  }
}

function takeRun(client: QueryClient, run: Run): void {
  client.setQueryData<{ items: Run[] }>(keys.runs, (before) => {
    if (!before) return before;
    const known = before.items.some((one) => one.id === run.id);
    return {
      items: known ? before.items.map((one) => (one.id === run.id ? run : one)) : [run, ...before.items],
    };
  });
  if (!isOpen(run)) {
    void client.invalidateQueries({ queryKey: keys.policies });
    void client.invalidateQueries({ queryKey: keys.status });
  }
}

/** Follows the feed while the page is open; true while its line is cut. */
export function useFeed(): boolean {
  const client = useQueryClient();
  const [cut, setCut] = useState(false);
  useEffect(() => {
    let wasCut = false;
    const line = openLine(
      "/api/v1/events",
      FEED_EVENTS,
      null,
      (name, _id, data) => takeFeedEvent(client, { type: name, data } as FeedEvent),
      (state) => {
        // A feed that began at "now" has no id to go on from, so what was missed is read once.
        if (state === "open" && wasCut)
          for (const queryKey of [keys.status, keys.runs, keys.policies, ["metrics"]])
            void client.invalidateQueries({ queryKey });
        wasCut = state === "waiting";
        setCut(wasCut);
      },
    );
    return () => line.close();
  }, [client]);
  return cut;
}
