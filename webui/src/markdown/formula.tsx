/** A formula, set by KaTeX once that is there; its source stands until then, and where it is no formula. */
import { useEffect, useRef } from "react";

let katex: Promise<typeof import("./katex")> | undefined;

export function Formula({ source, display }: { source: string; display: boolean }) {
  const place = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    let current = true;
    // A missing chunk (an old tab after an update) costs the setting, not the text.
    katex ??= import("./katex");
    katex.then(
      ({ set }) => current && place.current && set(source, place.current, display),
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, [source, display]);
  return (
    <span
      ref={place}
      className={display ? "formula formula-block" : "formula"}
      // A wide formula scrolls by itself.
      tabIndex={display ? 0 : undefined}
    >
      {source}
    </span>
  );
}
