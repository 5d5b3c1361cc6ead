/** The head of the run that is shown, and the list of all. */
import type { Run } from "../../api";
import { formatDuration, formatTime } from "../../format";
import { useLanguage } from "../../texts";
import { type Texts, useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";

type Outcome = Run["state"] | "heldBack";

const CHIP: Record<Outcome, string> = {
  queued: "chip",
  running: "chip chip-turn",
  succeeded: "chip chip-good",
  heldBack: "chip chip-turn",
  failed: "chip chip-bad",
  cancelled: "chip",
};

/** A training that did its work without a version: its reward model was held back. */
const outcome = (run: Run): Outcome =>
  run.state === "succeeded" && run.version == null ? "heldBack" : run.state;

const shortId = (id: string) => id.replace(/^run_/, "").slice(0, 8);

function asked(run: Run, texts: Texts["admin"]["run"]): string {
  return texts.asked[run.requested_by] ?? texts.asked.person ?? "";
}

export function RunHead({ run, isCurrent }: { run: Run | null; isCurrent: boolean }) {
  const texts = useTexts().admin.run;
  const language = useLanguage();
  return (
    <header className="border-b border-line px-4 py-3">
      <p className="flex flex-wrap items-center gap-2">
        <span className="text-[1.05rem] font-semibold">
          {isCurrent || !run ? texts.current : texts.titleOf(shortId(run.id))}
        </span>
        {run && <span className={CHIP[outcome(run)]}>{texts.states[outcome(run)]}</span>}
      </p>
      <p className="text-[0.87rem] text-muted">
        {run
          ? [
              texts.askedAt(asked(run, texts), formatTime(run.created_at, language)),
              run.reason,
              run.attempt > 1 && texts.attempt(run.attempt),
              run.version != null && texts.made(run.version),
            ]
              .filter(Boolean)
              .join(" · ")
          : texts.none}
      </p>
      {run?.error && (
        <p
          role="alert"
          className="mt-2 flex items-start gap-2 rounded-lg bg-bad-soft px-3 py-2 text-[0.92rem] text-bad"
        >
          <Icon name="warn" className="mt-0.5 size-4.5" />
          <span className="wrap-anywhere">{run.error}</span>
        </p>
      )}
    </header>
  );
}

interface ListProps {
  runs: Run[] | undefined;
  error: Error | null;
  retry: () => void;
  shown: string | null;
  onShow: (id: string) => void;
}

export function RunList({ runs, error, retry, shown, onShow }: ListProps) {
  const texts = useTexts().admin.run;
  const common = useTexts().common;
  const language = useLanguage();
  const took = (run: Run) =>
    run.started_at && run.ended_at
      ? formatDuration(Date.parse(run.ended_at) - Date.parse(run.started_at), language)
      : common.none;
  return (
    <section className="card overflow-hidden" aria-labelledby="runs-title">
      <h2 id="runs-title" className="px-4 pt-3 pb-2 text-[1.05rem] font-semibold">
        {texts.list}
      </h2>
      {error && !runs && (
        <div className="px-4 pb-4">
          <ProblemLine error={error} retry={retry} />
        </div>
      )}
      {!runs && !error && <Loading />}
      {runs?.length === 0 && <Empty title={texts.none} hint={texts.noneHint} />}
      {runs && runs.length > 0 && (
        <div
          className="relative max-h-80 overflow-auto"
          tabIndex={0}
          role="group"
          aria-labelledby="runs-title"
        >
          <table className="row-table">
            <thead>
              <tr>
                <th scope="col">{texts.columns.run}</th>
                <th scope="col">{texts.columns.state}</th>
                <th scope="col">{texts.columns.started}</th>
                <th scope="col">{texts.columns.took}</th>
                <th scope="col">{texts.columns.result}</th>
                <th scope="col">
                  <span className="sr-only">{texts.open}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {runs.map((run) => (
                <tr key={run.id} className={run.id === shown ? "bg-sunken" : ""}>
                  <td className="font-mono whitespace-nowrap">{shortId(run.id)}</td>
                  <td>
                    <span className={CHIP[outcome(run)]}>{texts.states[outcome(run)]}</span>
                  </td>
                  <td className="whitespace-nowrap">{formatTime(run.created_at, language)}</td>
                  <td className="whitespace-nowrap">{took(run)}</td>
                  <td className="max-w-md truncate" title={run.error ?? undefined}>
                    {run.error ?? (run.version != null ? texts.made(run.version) : common.none)}
                  </td>
                  <td className="text-right">
                    <button
                      type="button"
                      className="btn btn-small"
                      aria-pressed={run.id === shown}
                      aria-label={`${run.id === shown ? texts.shown : texts.open} ${shortId(run.id)}`}
                      onClick={() => onShow(run.id)}
                    >
                      {run.id === shown ? texts.shown : texts.open}
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
