/** The fixed prompts side by side: a row a question, a column a look along the training. */
import { useQuery } from "@tanstack/react-query";
import type { Run } from "../../api";
import { useFixedTexts } from "../../texts/fixed";
import { consoleQueries } from "../console/calls";
import { Card } from "../console/guard";
import { along } from "./details";

/** Fetched and asked for again with the samples, which stand above. */
export default function FixedPrompts({ run }: { run: Run }) {
  const words = useFixedTexts();
  const looks = useQuery(consoleQueries.samples(run.id)).data?.fixed ?? [];
  if (looks.length === 0) return null;
  const shown = along(looks);
  const prompts = shown[0]?.answers.map((one) => one.prompt) ?? [];
  return (
    <Card id="fixed-title" title={words.title} hint={words.hint} flush>
      <div
        className="overflow-x-auto border-t border-line"
        tabIndex={0}
        role="group"
        aria-label={words.title}
        data-testid="fixed"
      >
        <table className="w-full min-w-200 table-fixed text-left align-top text-[0.9rem]">
          <thead className="text-[0.85rem] text-muted">
            <tr>
              <th scope="col" className="w-44 px-4 py-2 font-medium">
                {words.prompt}
              </th>
              {shown.map((look) => (
                <th key={look.update} scope="col" className="px-3 py-2 font-medium tabular-nums">
                  {look.update === 0 ? words.before : words.after(look.update)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {prompts.map((prompt, row) => (
              <tr key={prompt} className="border-t border-line">
                <th scope="row" className="px-4 py-2 align-top font-normal text-muted wrap-anywhere">
                  {prompt}
                </th>
                {shown.map((look, column) => {
                  const answer = look.answers[row];
                  const before = shown[column - 1]?.answers[row];
                  return (
                    <td key={look.update} className="px-3 py-2 align-top whitespace-pre-wrap wrap-anywhere">
                      {before && before.answer === answer?.answer ? (
                        <span className="text-muted">{words.same}</span>
                      ) : (
                        answer?.answer
                      )}
                      {answer && !answer.ended && before?.answer !== answer.answer && (
                        <span className="text-muted"> …</span>
                      )}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Card>
  );
}
