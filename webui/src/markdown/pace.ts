/** How often a text that grows is read and drawn again: every frame, or as seldom as its cost asks. */
import { useEffect, useLayoutEffect, useReducer, useRef } from "react";

/** Of the time, so much may go into texts that stream; the rest is for layout, paint and whoever scrolls. */
const SHARE = 1 / 8;

interface Shown {
  text: string;
  /** When it was drawn, and what that took, in milliseconds. */
  at: number;
  took: number;
}

/** The text as it is to be shown now. A long list is one block and is read whole with every word: it lags a little. */
export function usePaced(text: string, streaming: boolean): string {
  const shown = useRef<Shown>({ text, at: 0, took: 0 });
  const [, drawAgain] = useReducer((times: number) => times + 1, 0);
  const now = performance.now();
  const isOther = text !== shown.current.text;
  const due = shown.current.at + shown.current.took / SHARE;
  const isDrawn = isOther && (!streaming || now >= due || !text.startsWith(shown.current.text));
  if (isDrawn) shown.current = { text, at: now, took: 0 };
  useLayoutEffect(() => {
    if (isDrawn) shown.current.took = performance.now() - now;
  });
  useEffect(() => {
    if (!isOther || isDrawn) return;
    // Should no further word come.
    const timer = setTimeout(drawAgain, due - now);
    return () => clearTimeout(timer);
  });
  return shown.current.text;
}
