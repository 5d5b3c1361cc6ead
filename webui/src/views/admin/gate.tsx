/** A gate report as a table: what was measured, against which threshold, and why it passed or not. */
import type { GateReport } from "../../api";
import { formatNumber } from "../../format";
import { useLanguage } from "../../texts";
import { useTexts } from "../../texts/console";
import { Icon } from "../../ui/icons";

export function Gate({ checks, label }: { checks: GateReport["checks"]; label: string }) {
  const words = useTexts().admin.versions;
  const language = useLanguage();
  return (
    <div
      className="relative overflow-x-auto rounded-lg border border-line"
      tabIndex={0}
      role="group"
      aria-label={label}
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
          {checks.map((check) => (
            <tr key={check.name}>
              <td className="font-medium whitespace-nowrap">{check.name.replaceAll("_", " ")}</td>
              <td className="whitespace-nowrap">
                {formatNumber(check.value, language)}
                {check.low != null && check.high != null && check.n != null && (
                  <span className="block text-[0.8rem] text-muted">
                    {words.interval(
                      formatNumber(check.low, language),
                      formatNumber(check.high, language),
                      check.n,
                    )}
                  </span>
                )}
              </td>
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
