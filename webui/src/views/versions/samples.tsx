/** Two versions side by side: what each said to the gate's fixed prompts, changed words marked. */
import { useQueries } from "@tanstack/react-query";
import { diffOf, wordsOf } from "../../diff";
import { useConsole, useTexts } from "../../texts/console";
import { Loading, ProblemLine } from "../../ui/notice";
import { consoleQueries } from "../console/calls";

interface Props {
  /** The version that stands on the left; its words that the other does not say are not marked. */
  first: number;
  second: number;
}

export function Samples({ first, second }: Props) {
  const texts = useTexts();
  const words = useConsole().versions;
  const [left, right] = useQueries({
    queries: [consoleQueries.said(first), consoleQueries.said(second)],
  });
  const error = left.error ?? right.error;
  if (error) return <ProblemLine error={error} />;
  if (!left.data || !right.data) return <Loading lines={3} />;
  const answers = new Map(left.data.items.map((one) => [one.prompt, one.answer]));
  const both = right.data.items.filter((one) => answers.has(one.prompt));
  if (both.length === 0) return <p className="text-muted">{words.noSamples}</p>;
  return (
    <ul className="flex flex-col gap-4" data-testid="samples">
      {both.map(({ prompt, answer }) => (
        <li key={prompt}>
          <p className="mb-1.5 font-medium">{prompt}</p>
          <div className="grid gap-2 sm:grid-cols-2">
            <Said name={texts.common.version(first)} text={answers.get(prompt) ?? ""} />
            <Said name={texts.common.version(second)} text={answer} before={answers.get(prompt) ?? ""} />
          </div>
        </li>
      ))}
    </ul>
  );
}

/** `before`: the text that this one is compared with. */
function Said({ name, text, before }: { name: string; text: string; before?: string }) {
  const words = useConsole().versions;
  const pieces = before === undefined ? null : diffOf(wordsOf(before), wordsOf(text));
  return (
    <div className="rounded-lg bg-sunken px-3 py-2">
      <p className="eyebrow">{name}</p>
      {text.trim() === "" ? (
        <p className="text-muted italic">{words.saidNothing}</p>
      ) : (
        <p className="wrap-anywhere whitespace-pre-wrap">
          {pieces
            ? pieces.map(({ kind, text: said }, index) =>
                kind === "same" ? said : kind === "new" ? <ins key={index}>{said}</ins> : null,
              )
            : text}
        </p>
      )}
    </div>
  );
}
