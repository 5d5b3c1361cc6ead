/** A code block: its language, a copy button, colours once it is complete. */
import { type ReactNode, useEffect, useState } from "react";
import { useTexts } from "../texts";
import { CopyButton } from "../ui/copy";
import type { Span } from "./highlight";

function spans(list: Span[]): ReactNode[] {
  return list.map((span, index) =>
    typeof span === "string" ? (
      span
    ) : (
      <span key={index} className={span.scope ? `code-${span.scope.split(".")[0]}` : undefined}>
        {spans(span.children)}
      </span>
    ),
  );
}

export function CodeBlock({ code, language, open }: { code: string; language: string; open: boolean }) {
  const texts = useTexts();
  const [coloured, setColoured] = useState<{ code: string; spans: Span[] } | null>(null);
  useEffect(() => {
    if (open || !language) return;
    let current = true;
    // A missing chunk (an old tab after an update) costs the colours, not the code.
    import("./highlight").then(
      ({ highlight }) => {
        const found = highlight(code, language.toLowerCase());
        if (current && found) setColoured({ code, spans: found });
      },
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, [code, language, open]);
  return (
    <figure
      className="overflow-hidden rounded-lg border border-line bg-sunken"
      aria-label={texts.chat.code(language)}
    >
      <figcaption className="flex items-center justify-between border-b border-line py-0.5 pr-1 pl-3 text-[0.82rem] text-muted">
        <span className="font-mono">{language || "text"}</span>
        <CopyButton text={code} label={texts.chat.copyCode} />
      </figcaption>
      <pre className="overflow-x-auto p-3 font-mono text-[0.87rem] leading-relaxed" tabIndex={0}>
        <code>{coloured?.code === code ? spans(coloured.spans) : code}</code>
      </pre>
    </figure>
  );
}
