/** KaTeX, loaded with its style and fonts when the first formula comes. */
import { render } from "katex";
import "katex/dist/katex.min.css";

/** Sets the formula into `place`. It builds nodes, never HTML; commands that make links or load files are off. */
export function set(source: string, place: HTMLElement, display: boolean): void {
  render(source, place, {
    displayMode: display,
    throwOnError: false,
    errorColor: "var(--bad)",
    trust: false,
    strict: false,
    maxExpand: 200,
    maxSize: 20,
  });
}
