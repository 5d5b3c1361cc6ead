/** What stands where content cannot: nothing yet, loading, or a problem with a way out. */
import type { ReactNode } from "react";
import { Problem } from "../api";
import { type Texts, useTexts } from "../texts";
import { Icon } from "./icons";

/** The problem in the page's language where it is a known one, else in the server's words. */
export function problemText(error: unknown, texts: Texts): string {
  if (!(error instanceof Problem)) return texts.problem.other(0);
  if (error.status === 0) return texts.problem.unreachable;
  const known = (texts.problems as Record<string, string>)[error.kind];
  if (known) return known;
  if (!error.detail) return texts.problem.other(error.status);
  const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");
  return [error.detail, error.remedy]
    .filter((part): part is string => !!part)
    .map(sentence)
    .join(" ");
}

export function ProblemLine({ error, retry }: { error: unknown; retry?: () => void }) {
  const texts = useTexts();
  return (
    <div
      role="alert"
      className="flex flex-wrap items-center gap-x-3 gap-y-1.5 rounded-lg bg-bad-soft px-3 py-2 text-bad"
    >
      <Icon name="warn" className="size-4.5" />
      <span className="min-w-0 flex-1 basis-48">{problemText(error, texts)}</span>
      {retry && (
        <button type="button" className="btn btn-bad btn-small" onClick={retry}>
          {texts.common.tryAgain}
        </button>
      )}
    </div>
  );
}

export function Empty({ title, hint, children }: { title: string; hint?: string; children?: ReactNode }) {
  return (
    <div className="flex flex-col items-start gap-1.5 p-4">
      <p className="font-semibold">{title}</p>
      {hint && <p className="max-w-prose text-muted">{hint}</p>}
      {children}
    </div>
  );
}

export function Loading({ lines = 3 }: { lines?: number }) {
  const texts = useTexts();
  return (
    <div role="status" className="flex w-full flex-col gap-3 p-4">
      <span className="sr-only">{texts.common.loading}</span>
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} className={`waiting-line ${["w-11/12", "w-3/4", "w-1/2"][index % 3]}`} />
      ))}
    </div>
  );
}
