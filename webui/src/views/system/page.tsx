/** System: what is behind the page and how it is; each problem first, with its fix. */
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Me } from "../../api";
import { formatBytes, formatDuration, formatNumber, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries, type System, type SystemProblem } from "../console/calls";
import { Card, Closed, may, Page, Table } from "../console/guard";

export default function SystemPage({ me }: { me: Me }) {
  return may(me, "watch") ? <Look /> : <Closed needs="watch" />;
}

function Look() {
  const words = useConsole().system;
  const language = useLanguage();
  const system = useQuery(consoleQueries.system);
  return (
    <Page
      title={words.title}
      lead={system.data ? words.lead(formatTime(system.data.at, language)) : undefined}
    >
      {system.error && <ProblemLine error={system.error} retry={() => void system.refetch()} />}
      {!system.data && !system.error && <Loading lines={6} />}
      {system.data && <Everything system={system.data} />}
    </Page>
  );
}

function Everything({ system }: { system: System }) {
  return (
    <>
      <Problems problems={system.problems} />
      <div className="grid items-start gap-4 lg:grid-cols-2">
        <RedisCard system={system} />
        <MachineCard system={system} />
      </div>
      <Workers system={system} />
      <Engines system={system} />
      <Software system={system} />
    </>
  );
}

function Problems({ problems }: { problems: SystemProblem[] }) {
  const words = useConsole().system;
  if (problems.length === 0)
    return (
      <p className="card flex items-center gap-2 px-4 py-3" role="status">
        <span className="chip chip-good">
          <Icon name="check" className="size-3.5" />
          {words.fine}
        </span>
        {words.fineHint}
      </p>
    );
  return (
    <section aria-label={words.problems} className="flex flex-col gap-2">
      {problems.map((problem) => (
        <article
          key={problem.kind + problem.what}
          data-testid={`problem-${problem.kind}`}
          className={`rounded-lg px-4 py-3 ${problem.severity === "bad" ? "bg-bad-soft text-bad" : "bg-turn-soft text-turn"}`}
        >
          <h2 className="flex items-start gap-2 font-semibold">
            <Icon name="warn" className="mt-0.5 size-4.5" />
            <span className="wrap-anywhere">
              {words.kinds[problem.kind]}: <span className="font-normal">{problem.what}</span>
            </span>
          </h2>
          <p className="mt-1 pl-6.5 wrap-anywhere">
            <span className="font-semibold">{words.fix}</span>{" "}
            <code className="text-[0.88rem]">{problem.fix}</code>
          </p>
        </article>
      ))}
    </section>
  );
}

function Facts({ facts }: { facts: (readonly [string, ReactNode])[] }) {
  return (
    <dl className="grid grid-cols-[max-content_1fr] gap-x-6 gap-y-1">
      {facts.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="text-right tabular-nums wrap-anywhere">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function RedisCard({ system: { redis } }: { system: System }) {
  const words = useConsole().system;
  const language = useLanguage();
  const bytes = (value: number) => formatBytes(value, language);
  return (
    <Card id="redis-title" title="Redis" hint={redis.version}>
      <Facts
        facts={[
          [words.aof, `${redis.appendonly ?? words.hidden}, fsync ${redis.appendfsync ?? words.hidden}`],
          [words.policy, redis.maxmemory_policy ?? words.hidden],
          [
            words.memory,
            redis.maxmemory_bytes
              ? `${bytes(redis.memory_bytes)} / ${bytes(redis.maxmemory_bytes)}`
              : `${bytes(redis.memory_bytes)}, ${words.noLimit}`,
          ],
          [words.aofSize, redis.aof_bytes === null ? words.hidden : bytes(redis.aof_bytes)],
          [words.ping, `${formatNumber(redis.ping_ms, language)} ms`],
          [words.clock, `${formatNumber(redis.clock_skew_s * 1000, language)} ms`],
          [words.clients, `${redis.clients} (${words.blocked(redis.blocked_clients)})`],
          [words.up, formatDuration(redis.uptime_s * 1000, language)],
        ]}
      />
    </Card>
  );
}

function MachineCard({ system: { disk, machine, sse_clients, queues, last_tick } }: { system: System }) {
  const words = useConsole().system;
  const texts = useTexts();
  const language = useLanguage();
  const bytes = (value: number) => formatBytes(value, language);
  return (
    <Card id="machine-title" title={words.machine}>
      <Facts
        facts={[
          [words.disk, words.freeOf(bytes(disk.free_bytes), bytes(disk.total_bytes))],
          [words.policies, bytes(disk.policies_bytes)],
          [
            words.ram,
            machine.memory_bytes && machine.memory_free_bytes
              ? words.freeOf(bytes(machine.memory_free_bytes), bytes(machine.memory_bytes))
              : texts.common.none,
          ],
          [words.load, words.loadOf(formatNumber(machine.load, language), machine.cores)],
          [words.streams, `${sse_clients}`],
          ...Object.entries(queues ?? {}).map(
            ([name, waiting]) => [words.queue(name), `${waiting}`] as const,
          ),
          [words.tick, last_tick ? formatTime(last_tick, language) : words.never],
        ]}
      />
    </Card>
  );
}

function Workers({ system: { workers } }: { system: System }) {
  const words = useConsole().system;
  const language = useLanguage();
  return (
    <Card id="workers-title" title={words.workers} flush>
      {workers.length === 0 && <p className="px-4 pb-4 text-muted">{words.noWorkers}</p>}
      {workers.length > 0 && (
        <Table label={words.workers} heads={[words.columns.name, words.columns.queues, words.columns.seen]}>
          {workers.map((worker) => (
            <tr key={worker.name}>
              <td className="font-mono text-[0.88rem]">{worker.name}</td>
              <td>{worker.queues.join(", ")}</td>
              <td>{formatTime(worker.at, language)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

const CHIP: Record<string, string> = { ready: "chip chip-good", down: "chip chip-bad" };

function Engines({ system: { engines, servers } }: { system: System }) {
  const words = useConsole().system;
  const texts = useTexts();
  const language = useLanguage();
  const { columns } = words;
  return (
    <Card
      id="engines-title"
      title={texts.admin.strip.engines}
      hint={servers.map((one) => words.serves(one.name, one.serves)).join(" · ")}
      flush
    >
      {engines.length === 0 && <p className="px-4 pb-4 text-muted">{texts.admin.strip.noEngines}</p>}
      {engines.length > 0 && (
        <Table
          label={texts.admin.strip.engines}
          heads={[
            columns.name,
            columns.state,
            columns.version,
            columns.inFlight,
            columns.address,
            columns.seen,
          ]}
        >
          {engines.map((engine) => (
            <tr key={engine.name}>
              <td className="font-semibold">{engine.name}</td>
              <td>
                <span className={CHIP[engine.state] ?? "chip chip-turn"}>
                  {texts.admin.engineStates[engine.state]}
                </span>
                {engine.draining && <span className="chip chip-turn ml-1">{words.draining}</span>}
                {engine.error && (
                  <p className="mt-1 max-w-md text-[0.87rem] text-bad wrap-anywhere">{engine.error}</p>
                )}
              </td>
              <td>{engine.version == null ? texts.common.none : texts.common.version(engine.version)}</td>
              <td>{engine.in_flight}</td>
              <td className="max-w-64 font-mono text-[0.85rem] wrap-anywhere">{engine.address}</td>
              <td className="whitespace-nowrap">{formatTime(engine.seen_at, language)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

function Software({ system: { versions } }: { system: System }) {
  const words = useConsole().system;
  return (
    <Card id="software-title" title={words.software}>
      <ul className="flex flex-wrap gap-x-6 gap-y-1">
        {Object.entries(versions).map(([name, version]) => (
          <li key={name}>
            <span className="text-muted">{name}</span>{" "}
            <span className="font-mono text-[0.9rem]">{version}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
