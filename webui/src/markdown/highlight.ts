/** Colours for code, loaded when the first code block is complete; gives nested spans, never HTML. */
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import css from "highlight.js/lib/languages/css";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

for (const [name, grammar] of Object.entries({
  bash,
  c,
  css,
  javascript,
  json,
  python,
  rust,
  sql,
  typescript,
  xml,
  yaml,
}))
  hljs.registerLanguage(name, grammar);

export type Span = string | { scope: string | null; children: Span[] };
interface Node {
  scope?: string;
  children: (string | Node)[];
}

const spanOf = (node: string | Node): Span =>
  typeof node === "string" ? node : { scope: node.scope ?? null, children: node.children.map(spanOf) };

/** The code as spans with a scope each, or null when the language is not among the few. */
export function highlight(code: string, language: string): Span[] | null {
  if (!hljs.getLanguage(language)) return null;
  const emitter = hljs.highlight(code, { language, ignoreIllegals: true })._emitter as unknown as {
    rootNode: Node;
  };
  return emitter.rootNode.children.map(spanOf);
}
