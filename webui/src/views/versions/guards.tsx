/** What goes wrong with the canary's answers, beside the active version's; a guard with enough evidence ends it. */
import { formatNumber, formatShare } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole } from "../../texts/console";
import type { Statistics } from "../console/statistics";

export function Guards({ canary }: { canary: Statistics["canary"] }) {
  const words = useConsole().versions;
  const language = useLanguage();
  if (!canary) return null;
  if (canary.guards.length === 0) return <p className="mb-3 text-muted">{words.guards.none}</p>;
  const share = (bad: number, n: number) =>
    n === 0 ? "–" : `${formatShare(bad / n, language)} (${bad}/${n})`;
  return (
    <table className="row-table mb-3">
      <caption className="text-left text-muted">{words.guards.title}</caption>
      <thead>
        <tr>
          <th scope="col">{words.guards.what}</th>
          <th scope="col">{`v${canary.number}`}</th>
          <th scope="col">{`v${canary.against}`}</th>
          <th scope="col">{words.guards.evidence}</th>
        </tr>
      </thead>
      <tbody>
        {canary.guards.map((guard) => (
          <tr key={guard.name}>
            <th scope="row">{words.guards.names[guard.name]}</th>
            <td>{share(guard.canary_bad, guard.canary_n)}</td>
            <td>{share(guard.active_bad, guard.active_n)}</td>
            <td>
              {words.guards.of(formatNumber(guard.e_value, language), guard.limit ?? 100, guard.allowed)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
