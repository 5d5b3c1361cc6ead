/** My votes: what the person said so far, which versions it was about, and the way back while there is one. */
import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { VoteFilter } from "../../api";
import { keys, queries } from "../../queries";
import { useTexts } from "../../texts/judging";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { VoteRow } from "./row";

const KINDS = ["duel", "thumb", "ranking", "edit"] as const;
const STATUSES = ["active", "undone", "excluded"] as const;

export default function MinePage() {
  const texts = useTexts();
  const client = useQueryClient();
  const [filter, setFilter] = useState<VoteFilter>({});
  const query = useInfiniteQuery(queries.mine(filter));
  const pages = query.data?.pages ?? [];
  const votes = pages.flatMap((page) => page.items);
  const changed = () => {
    void client.invalidateQueries({ queryKey: keys.mine });
    void client.invalidateQueries({ queryKey: keys.conversations });
  };
  const choose = (change: Partial<VoteFilter>) => setFilter({ ...filter, ...change });
  return (
    <main id="content" className="min-h-0 flex-1 overflow-y-auto" aria-label={texts.mine.title}>
      <div className="mx-auto flex max-w-240 flex-col gap-4 p-3 sm:p-5">
        <header className="flex flex-wrap items-center gap-x-4 gap-y-2">
          <h1 className="text-[1.3rem] font-semibold">{texts.mine.title}</h1>
          {pages[0] && (
            <span className="text-[0.9rem] text-muted tabular-nums">
              {texts.mine.week(pages[0].this_week)}
            </span>
          )}
          <span className="flex-1" />
          <Choice
            label={texts.mine.kind}
            value={filter.kind ?? ""}
            options={KINDS.map((kind) => [kind, texts.mine.kinds[kind]])}
            all={texts.mine.everyKind}
            choose={(kind) => choose({ kind: (kind || undefined) as VoteFilter["kind"] })}
          />
          <Choice
            label={texts.mine.status}
            value={filter.status ?? ""}
            options={STATUSES.map((status) => [status, texts.mine.statuses[status]])}
            all={texts.mine.everyStatus}
            choose={(status) => choose({ status: (status || undefined) as VoteFilter["status"] })}
          />
        </header>
        {query.isPending && <Loading lines={6} />}
        {query.error && <ProblemLine error={query.error} retry={() => void query.refetch()} />}
        {query.data && votes.length === 0 && (
          <div className="card">
            {filter.kind || filter.status ? (
              <Empty title={texts.mine.noneSuch}>
                <button type="button" className="btn btn-small mt-2" onClick={() => setFilter({})}>
                  {texts.mine.showAll}
                </button>
              </Empty>
            ) : (
              <Empty title={texts.mine.none} hint={texts.mine.noneHint} />
            )}
          </div>
        )}
        {votes.length > 0 && (
          <ul className="flex flex-col gap-2.5">
            {votes.map((vote) => (
              <VoteRow key={vote.id} vote={vote} onChanged={changed} />
            ))}
          </ul>
        )}
        {query.hasNextPage && (
          <button
            type="button"
            className="btn mx-auto"
            disabled={query.isFetchingNextPage}
            onClick={() => void query.fetchNextPage()}
          >
            {texts.mine.more}
          </button>
        )}
      </div>
    </main>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: [string, string][];
  all: string;
  choose: (value: string) => void;
}

function Choice({ label, value, options, all, choose }: ChoiceProps) {
  return (
    <select
      className="field min-h-8 w-auto py-0 text-[0.9rem]"
      aria-label={label}
      value={value}
      onChange={(event) => choose(event.target.value)}
    >
      <option value="">{all}</option>
      {options.map(([name, text]) => (
        <option key={name} value={name}>
          {text}
        </option>
      ))}
    </select>
  );
}
