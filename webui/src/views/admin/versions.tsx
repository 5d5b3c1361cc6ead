/** Every version of the policy: its state, where it came from, what the gate said. */
import type { GateReport, Policies, PolicyVersion } from "../../api";
import { formatNumber, formatTime } from "../../format";
import { useLanguage, useTexts } from "../../texts";
import { Icon } from "../../ui/icons";
import { Empty, Loading, ProblemLine } from "../../ui/notice";

const CHIP: Record<PolicyVersion["state"], string> = {
  candidate: "chip chip-turn",
  canary: "chip chip-turn",
  active: "chip chip-good",
  retired: "chip",
  rejected: "chip chip-bad",
  rolled_back: "chip chip-bad",
};

interface Props {
  policies: Policies | undefined;
  error: Error | null;
  retry: () => void;
}

export function Versions({ policies, error, retry }: Props) {
  const texts = useTexts().admin.versions;
  const versions = [...(policies?.items ?? [])].sort((a, b) => b.number - a.number);
  return (
    <section className="card overflow-hidden" aria-labelledby="versions-title">
      <h2 id="versions-title" className="px-4 pt-3 pb-2 text-[1.05rem] font-semibold">
        {texts.title}
      </h2>
      {error && !policies && (
        <div className="px-4 pb-4">
          <ProblemLine error={error} retry={retry} />
        </div>
      )}
      {!policies && !error && <Loading />}
      {policies && versions.length === 0 && <Empty title={texts.none} hint={texts.noneHint} />}
      <ul>
        {versions.map((version, index) => (
          <li key={version.number} className="border-t border-line" data-testid={`version-${version.number}`}>
            <Version version={version} open={index === 0 && version.report != null} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Version({ version, open }: { version: PolicyVersion; open: boolean }) {
  const texts = useTexts();
  const words = texts.admin.versions;
  const language = useLanguage();
  const { report } = version;
  const origin = [
    version.parent == null ? words.base : words.parent(version.parent),
    version.reward_model != null && words.rewardModel(version.reward_model),
    formatTime(version.created_at, language),
  ].filter(Boolean);
  return (
    <details open={open} className="group">
      <summary className="flex list-none flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2.5 hover:bg-hover [&::-webkit-details-marker]:hidden">
        <Icon name="right" className="size-4 text-muted group-open:rotate-90" />
        <span className="min-w-8 font-semibold">{texts.common.version(version.number)}</span>
        <span className={CHIP[version.state]}>
          {version.state === "active" && <Icon name="check" className="size-3.5" />}
          {words.states[version.state]}
        </span>
        <span className="text-[0.9rem] text-muted">{origin.join(" · ")}</span>
        <span className="flex-1" />
        {report && (
          <span className={`text-[0.87rem] ${report.passed ? "text-muted" : "text-bad"}`}>
            {report.passed ? words.gatePassed : words.gateHeld}
          </span>
        )}
      </summary>
      <div className="px-4 pt-1 pb-4 pl-11 max-sm:pl-4">
        {version.reason && <p className="mb-2">{version.reason}</p>}
        {report ? (
          <Gate report={report} number={version.number} />
        ) : (
          <p className="text-muted">{words.noGate}</p>
        )}
        <p className="mt-2 text-[0.85rem] wrap-anywhere text-muted">
          {words.digest} <span className="font-mono">{version.sha256.slice(0, 16)}</span>
        </p>
      </div>
    </details>
  );
}

function Gate({ report, number }: { report: GateReport; number: number }) {
  const texts = useTexts();
  const words = texts.admin.versions;
  const language = useLanguage();
  return (
    <div
      className="relative overflow-x-auto rounded-lg border border-line"
      tabIndex={0}
      role="group"
      aria-label={`${words.gate} ${texts.common.version(number)}`}
    >
      <table className="row-table">
        <thead>
          <tr>
            <th scope="col">{words.columns.check}</th>
            <th scope="col">{words.columns.value}</th>
            <th scope="col">{words.columns.threshold}</th>
            <th scope="col">{words.columns.result}</th>
            <th scope="col">{words.columns.reason}</th>
          </tr>
        </thead>
        <tbody>
          {report.checks.map((check) => (
            <tr key={check.name}>
              <td className="font-medium whitespace-nowrap">{check.name.replaceAll("_", " ")}</td>
              <td>{formatNumber(check.value, language)}</td>
              <td>{formatNumber(check.threshold, language)}</td>
              <td className="whitespace-nowrap">
                <span className={check.passed ? "chip chip-good" : "chip chip-bad"}>
                  <Icon name={check.passed ? "check" : "close"} className="size-3.5" />
                  {check.passed ? words.passed : words.notPassed}
                </span>
              </td>
              <td className="min-w-48 text-muted">{check.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
