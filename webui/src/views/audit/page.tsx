/** The audit log: who did what, found by filter; a CSV of the same; whether anything in it was changed. */
import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { useDeferredValue, useState } from "react";
import type { Me } from "../../api";
import { useLanguage, useTexts } from "../../texts";
import { useConsole } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";
import { type AuditEntry, type AuditFilter, consoleApi, consoleQueries } from "../console/calls";
import { Card, Closed, may, Page, Table } from "../console/guard";
import { actionName, formatExact } from "./format";

export default function AuditPage({ me }: { me: Me }) {
  return may(me, "manage") ? <Audit /> : <Closed needs="manage" />;
}

function Audit() {
  const words = useConsole().audit;
  const [filter, setFilter] = useState<AuditFilter>({});
  const asked = useDeferredValue(filter);
  const log = useInfiniteQuery({
    queryKey: ["audit", asked],
    queryFn: ({ pageParam }) => consoleApi.audit(asked, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
  });
  const entries = log.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Page
      title={words.title}
      lead={words.lead}
      actions={
        <a className="btn" href={consoleApi.auditCsv(filter)} download="heed-audit.csv">
          {words.csv}
        </a>
      }
    >
      <Chain />
      <Card id="audit-title" title={words.entries} flush>
        <Filters filter={filter} setFilter={setFilter} />
        {log.error && !log.data && <ProblemLine error={log.error} retry={() => void log.refetch()} />}
        {log.isPending && <Loading lines={5} />}
        {log.data && entries.length === 0 && <Empty title={words.none} hint={words.noneHint} />}
        {entries.length > 0 && <Entries entries={entries} />}
        {log.hasNextPage && (
          <div className="p-3 text-center">
            <button
              type="button"
              className="btn"
              disabled={log.isFetchingNextPage}
              onClick={() => void log.fetchNextPage()}
            >
              {words.older}
            </button>
          </div>
        )}
      </Card>
    </Page>
  );
}

function Chain() {
  const words = useConsole().audit;
  const verify = useMutation({ mutationFn: consoleApi.verifyAudit });
  const verdict = verify.data;
  return (
    <div className="card flex flex-wrap items-center gap-x-4 gap-y-2 px-4 py-3" role="status">
      <button type="button" className="btn" disabled={verify.isPending} onClick={() => verify.mutate()}>
        <Icon name="check" className="size-4.5" />
        {words.verify}
      </button>
      {!verdict && !verify.error && <p className="min-w-0 flex-1 basis-72 text-muted">{words.verifyHint}</p>}
      {verify.error && <ProblemLine error={verify.error} />}
      {verdict && verdict.broken_at === null && (
        <p className="min-w-0 flex-1 basis-72">
          <span className="chip chip-good">
            <Icon name="check" className="size-3.5" />
            {words.whole}
          </span>{" "}
          {words.wholeOf(verdict.entries)}{" "}
          <span className="font-mono text-[0.85rem] wrap-anywhere text-muted">{verdict.head}</span>
        </p>
      )}
      {verdict && verdict.broken_at !== null && (
        <p className="min-w-0 flex-1 basis-72 text-bad" role="alert">
          <span className="chip chip-bad">
            <Icon name="warn" className="size-3.5" />
            {words.broken}
          </span>{" "}
          {verdict.broken_at === "head" ? words.brokenEnd : words.brokenAt(verdict.broken_at)}{" "}
          {verdict.reason}
        </p>
      )}
    </div>
  );
}

interface FilterProps {
  filter: AuditFilter;
  setFilter: (filter: AuditFilter) => void;
}

function Filters({ filter, setFilter }: FilterProps) {
  const words = useConsole().audit;
  const people = useQuery(consoleQueries.people);
  const set = (change: AuditFilter) => setFilter({ ...filter, ...change });
  return (
    <search className="flex flex-wrap items-end gap-3 px-4 pb-3">
      <label className="flex flex-col gap-0.5 text-[0.87rem]">
        <span className="text-muted">{words.actor}</span>
        <select
          className="field min-h-9 w-auto py-1"
          value={filter.actor ?? ""}
          onChange={(event) => set({ actor: event.target.value })}
        >
          <option value="">{words.anybody}</option>
          {people.data?.items.map((person) => (
            <option key={person.id} value={person.id}>
              {person.name}
            </option>
          ))}
          <option value="release">{words.actions.release}</option>
        </select>
      </label>
      <label className="flex flex-col gap-0.5 text-[0.87rem]">
        <span className="text-muted">{words.action}</span>
        <select
          className="field min-h-9 w-auto py-1"
          value={filter.action ?? ""}
          onChange={(event) => set({ action: event.target.value })}
        >
          <option value="">{words.anything}</option>
          {Object.keys(words.actions)
            .filter((action) => action !== "release")
            .map((action) => (
              <option key={action} value={action}>
                {words.actions[action]}
              </option>
            ))}
        </select>
      </label>
      <label className="flex flex-col gap-0.5 text-[0.87rem]">
        <span className="text-muted">{words.since}</span>
        <input
          type="date"
          className="field min-h-9 w-auto py-1"
          onChange={(event) => set({ since: event.target.value ? `${event.target.value}T00:00:00Z` : "" })}
        />
      </label>
      <label className="flex min-w-48 flex-1 flex-col gap-0.5 text-[0.87rem]">
        <span className="text-muted">{words.text}</span>
        <input
          type="search"
          className="field min-h-9 py-1"
          maxLength={200}
          value={filter.text ?? ""}
          onChange={(event) => set({ text: event.target.value })}
        />
      </label>
    </search>
  );
}

function Entries({ entries }: { entries: AuditEntry[] }) {
  const words = useConsole().audit;
  const language = useLanguage();
  const { columns } = words;
  return (
    <Table label={words.entries} heads={[columns.at, columns.actor, columns.action, columns.object, columns.change, columns.reason, columns.hash]}>
      {entries.map((entry) => (
        <tr key={entry.id}>
          <td className="whitespace-nowrap">{formatExact(entry.at, language)}</td>
          <td className="whitespace-nowrap">{entry.actor_name ?? entry.actor}</td>
          <td className="whitespace-nowrap">{actionName(entry.action, words.actions)}</td>
          <td className="max-w-56 wrap-anywhere">{entry.object_name ?? entry.object}</td>
          <td className="max-w-md">
            <Difference entry={entry} />
          </td>
          <td className="max-w-64 wrap-anywhere">{entry.reason}</td>
          <td className="font-mono text-[0.82rem] text-muted" title={`${entry.hash}\n${entry.request_id ?? ""}`}>
            {entry.hash.slice(0, 10)}
          </td>
        </tr>
      ))}
    </Table>
  ); // biome-ignore format: heads in one line
}

/** A value as short text: `role reviewer, hours 72`. */
export function said(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(said).join(", ");
  if (typeof value === "object")
    return Object.entries(value)
      .filter(([, one]) => one !== null && one !== "")
      .map(([name, one]) => `${name.replaceAll("_", " ")} ${said(one)}`)
      .join(", ");
  return String(value);
}

function Difference({ entry }: { entry: AuditEntry }) {
  const texts = useTexts();
  const [before, after] = [said(entry.before), said(entry.after)];
  const { reason: _, ...others } = entry.detail;
  const more = said(others);
  if (!before && !after && !more) return <span className="text-muted">{texts.common.none}</span>;
  return (
    <span className="wrap-anywhere">
      {before && (
        <>
          <del className="text-muted">{before}</del>
          {after && " → "}
        </>
      )}
      {after && <ins className="no-underline">{after}</ins>}
      {more && <span> {more}</span>}
    </span>
  );
}
