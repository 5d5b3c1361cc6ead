/** One version in detail: data, differences from its parent, gates, win rates, files, card; and what can be done. */
import { useQuery } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useState } from "react";
import type { Me, Policies, PolicyVersion } from "../../api";
import { formatBytes, formatNumber, formatShare, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Loading, ProblemLine } from "../../ui/notice";
import { Gate } from "../admin/gate";
import { type Change, consoleQueries, type Version } from "../console/calls";
import { may, Table } from "../console/guard";
import { type Pair, useStatistics } from "../console/statistics";
import { Downloads } from "./downloads";
import { STATE_CHIP, STATE_ICON } from "./graph";
import { metricName } from "./names";
import { PromoteDialog } from "./promote";
import { RollbackDialog } from "./rollback";
import { Samples } from "./samples";

const Markdown = lazy(() => import("./card"));

export function Drawer({ number, policies, me }: { number: number; policies: Policies; me: Me }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const detail = useQuery(consoleQueries.version(number));
  const version = policies.items.find((one) => one.number === number);
  if (!version) return null;
  return (
    <aside className="card min-w-0 overflow-hidden" aria-labelledby="version-title" data-testid="drawer">
      <Head version={version} policies={policies} me={me} />
      {detail.error && !detail.data && (
        <ProblemLine error={detail.error} retry={() => void detail.refetch()} />
      )}
      {!detail.data && !detail.error && <Loading lines={4} />}
      {detail.data && (
        <>
          <Data detail={detail.data} />
          <WinRates number={number} parent={version.parent ?? null} active={policies.active} />
          <Section title={texts.admin.versions.gate}>
            {version.report ? (
              <Gate
                checks={version.report.checks}
                label={`${texts.admin.versions.gate} ${texts.common.version(number)}`}
              />
            ) : (
              <p className="text-muted">{texts.admin.versions.noGate}</p>
            )}
          </Section>
          {version.parent != null && (
            <Section title={words.against(version.parent)}>
              <Changes changes={detail.data.settings} none={words.sameSettings} label={words.settings} />
              <Changes changes={detail.data.metrics} none={words.sameMetrics} label={words.metrics} numbers />
            </Section>
          )}
          {version.parent != null && (
            <Folded title={words.samples(version.parent, number)}>
              <Samples first={version.parent} second={number} />
            </Folded>
          )}
          <Files detail={detail.data} me={me} />
          {detail.data.card && (
            <Folded title={words.card}>
              <Suspense fallback={<Loading />}>
                <Markdown text={detail.data.card} />
              </Suspense>
            </Folded>
          )}
        </>
      )}
    </aside>
  );
}

function Head({ version, policies, me }: { version: PolicyVersion; policies: Policies; me: Me }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const [asking, setAsking] = useState<"promote" | "rollback" | null>(null);
  const isTarget = policies.previous === version.number && policies.active !== null;
  const canPromote = ["candidate", "retired", "rolled_back"].includes(version.state);
  return (
    <header className="flex flex-wrap items-center gap-x-3 gap-y-2 border-b border-line px-4 py-3">
      <h2 id="version-title" className="text-lg font-semibold">
        {texts.common.version(version.number)}
      </h2>
      <span className={STATE_CHIP[version.state]}>
        <Icon name={STATE_ICON[version.state]} className="size-3.5" />
        {texts.admin.versions.states[version.state]}
      </span>
      <span className="text-[0.9rem] text-muted">{formatTime(version.created_at, language)}</span>
      <span className="flex-1" />
      {may(me, "release") && canPromote && (
        <button type="button" className="btn btn-small" onClick={() => setAsking("promote")}>
          <Icon name="play" className="size-4" />
          {words.promote}
        </button>
      )}
      {may(me, "release") && isTarget && (
        <button type="button" className="btn btn-small btn-bad" onClick={() => setAsking("rollback")}>
          <Icon name="back" className="size-4" />
          {texts.admin.actions.rollBackTo(version.number)}
        </button>
      )}
      {version.reason && <p className="basis-full wrap-anywhere">{version.reason}</p>}
      {asking === "promote" && (
        <PromoteDialog version={version} policies={policies} onClose={() => setAsking(null)} />
      )}
      {asking === "rollback" && policies.active !== null && (
        <RollbackDialog from={policies.active} to={version.number} onClose={() => setAsking(null)} />
      )}
    </header>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="border-b border-line px-4 py-3 last:border-b-0">
      <h3 className="mb-1.5 font-semibold">{title}</h3>
      {children}
    </section>
  );
}

/** What is in it is asked for when it is opened. */
function Folded({ title, children }: { title: string; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <details
      className="group border-b border-line px-4 py-3 last:border-b-0"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary className="flex list-none items-center gap-2 font-semibold [&::-webkit-details-marker]:hidden">
        <Icon name="right" className="size-4 text-muted group-open:rotate-90" />
        {title}
      </summary>
      {open && <div className="mt-2">{children}</div>}
    </details>
  );
}

function Data({ detail }: { detail: Version }) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const { snapshot } = detail;
  if (!snapshot)
    return (
      <Section title={words.data}>
        <p className="text-muted">{words.noData}</p>
      </Section>
    );
  const skipped = Object.entries(detail.skipped);
  return (
    <Section title={words.data}>
      <p>
        {words.dataOf(
          snapshot.votes,
          snapshot.new_votes,
          snapshot.train_pairs,
          snapshot.held_out_pairs,
          snapshot.prompts,
        )}
        {detail.votes_added !== null && ` ${words.votesAdded(detail.votes_added, detail.votes_removed ?? 0)}`}
      </p>
      {detail.tainted > 0 && (
        <p className="mt-1 rounded-lg bg-turn-soft px-3 py-2 text-turn">{words.tainted(detail.tainted)}</p>
      )}
      {skipped.length > 0 && (
        <p className="text-muted">
          {words.skipped} {skipped.map(([reason, count]) => `${reason} ${count}`).join(", ")}
        </p>
      )}
      <p className="text-[0.87rem] text-muted wrap-anywhere">
        {formatTime(snapshot.created_at, language)} · {texts.admin.versions.digest}{" "}
        <span className="font-mono">{snapshot.sha256}</span>
      </p>
    </Section>
  );
}

function WinRates({
  number,
  parent,
  active,
}: {
  number: number;
  parent: number | null;
  active: number | null;
}) {
  const words = useConsole().versions;
  const statistics = useStatistics();
  const against = [...new Set([parent, active])].filter(
    (one): one is number => one !== null && one !== number,
  );
  if (against.length === 0) return null;
  return (
    <Section title={words.winRates}>
      {statistics.missing && <p className="text-muted">{words.noStatistics}</p>}
      {statistics.data && (
        <ul className="flex flex-col gap-1.5">
          {against.map((other) => (
            <WinRate key={other} number={number} other={other} pair={statistics.pairOf(number, other)} />
          ))}
        </ul>
      )}
    </Section>
  );
}

function WinRate({ number, other, pair }: { number: number; other: number; pair: Pair | undefined }) {
  const words = useConsole().versions;
  const language = useLanguage();
  if (!pair || pair.n === 0 || pair.rate === null)
    return <li className="text-muted">{words.noDuels(number, other)}</li>;
  const [low, high] = [pair.low ?? 0, pair.high ?? 1];
  const percent = (share: number) => formatShare(share, language);
  return (
    <li>
      <p>{words.winRate(number, other, percent(pair.rate), percent(low), percent(high), pair.n)}</p>
      <svg
        viewBox="0 0 100 8"
        className="mt-1 h-2 w-full max-w-md"
        preserveAspectRatio="none"
        aria-hidden="true"
      >
        <rect width="100" height="8" className="fill-sunken" />
        <rect
          x={low * 100}
          width={Math.max(0.5, (high - low) * 100)}
          height="8"
          className="fill-line-strong"
        />
        <path d="M50 0V8" className="stroke-ink" strokeWidth="0.4" />
        <rect x={pair.rate * 100 - 0.4} width="0.8" height="8" className="fill-accent" />
      </svg>
    </li>
  );
}

interface ChangesProps {
  changes: Change[];
  none: string;
  label: string;
  numbers?: boolean;
}

function Changes({ changes, none, label, numbers = false }: ChangesProps) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  if (changes.length === 0) return <p className="text-muted">{none}</p>;
  const said = (value: unknown) =>
    value === null || value === undefined
      ? texts.common.none
      : typeof value === "number"
        ? formatNumber(value, language)
        : typeof value === "string"
          ? value
          : JSON.stringify(value);
  return (
    <div className="mb-2">
      <Table label={label} heads={[label, words.before, words.after]}>
        {changes.map((change) => (
          <tr key={change.name}>
            <td>{numbers ? metricName(change.name, texts) : <code>{change.name}</code>}</td>
            <td className="text-muted">{said(change.before)}</td>
            <td>{said(change.after)}</td>
          </tr>
        ))}
      </Table>
    </div>
  );
}

function Files({ detail, me }: { detail: Version; me: Me }) {
  const words = useConsole().versions;
  const language = useLanguage();
  if (detail.files_error)
    return (
      <Section title={words.files}>
        <p className="text-bad wrap-anywhere">{detail.files_error}</p>
      </Section>
    );
  return (
    <Folded title={`${words.files}, ${formatBytes(detail.bytes, language)}`}>
      <Table label={words.files} heads={[words.file, words.size, "SHA-256"]}>
        {detail.files.map((file) => (
          <tr key={file.name}>
            <td>{file.name}</td>
            <td className="whitespace-nowrap">{formatBytes(file.bytes, language)}</td>
            <td className="font-mono text-[0.82rem] text-muted">{file.sha256.slice(0, 16)}</td>
          </tr>
        ))}
      </Table>
      <Downloads detail={detail} me={me} />
    </Folded>
  );
}
