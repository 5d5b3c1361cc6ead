/** Two versions side by side: what was measured of each, and what they say. */
import type { PolicyVersion } from "../../api";
import { formatNumber } from "../../format";
import { useLanguage } from "../../texts";
import { useConsole, useTexts } from "../../texts/console";
import { Card, Table } from "../console/guard";
import { metricName } from "./names";
import { Samples } from "./samples";

interface Props {
  versions: PolicyVersion[];
  first: number;
  second: number;
  onClose: () => void;
}

export function Compare({ versions, first, second, onClose }: Props) {
  const texts = useTexts();
  const words = useConsole().versions;
  const language = useLanguage();
  const [a, b] = [first, second].map((number) => versions.find((one) => one.number === number));
  if (!a || !b) return null;
  const measured = (version: PolicyVersion): Record<string, number> => ({
    ...version.metrics,
    ...Object.fromEntries((version.report?.checks ?? []).map((check) => [check.name, check.value])),
  });
  const [left, right] = [measured(a), measured(b)];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
  const said = (value: number | undefined) =>
    value === undefined ? texts.common.none : formatNumber(value, language);
  return (
    <Card
      id="compare-title"
      title={words.compareTitle(first, second)}
      flush
      actions={
        <button type="button" className="btn btn-small" onClick={onClose}>
          {texts.common.close}
        </button>
      }
    >
      {names.length === 0 ? (
        <p className="px-4 pb-4 text-muted">{words.nothingMeasured}</p>
      ) : (
        <Table
          label={words.compareTitle(first, second)}
          heads={[
            words.measure,
            texts.common.version(first),
            texts.common.version(second),
            words.minus(second, first),
          ]}
        >
          {names.map((name) => {
            const [before, after] = [left[name], right[name]];
            return (
              <tr key={name}>
                <td>{metricName(name, texts)}</td>
                <td>{said(before)}</td>
                <td>{said(after)}</td>
                <td>
                  {before === undefined || after === undefined
                    ? texts.common.none
                    : signed(after - before, said)}
                </td>
              </tr>
            );
          })}
        </Table>
      )}
      <div className="flex flex-col gap-2 border-t border-line px-4 py-3">
        <h3 className="font-semibold">{words.samples(first, second)}</h3>
        <Samples first={first} second={second} />
      </div>
    </Card>
  );
}

const signed = (value: number, said: (value: number) => string) =>
  value > 0 ? `+${said(value)}` : said(value);
