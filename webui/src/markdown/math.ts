/** Formulas in markdown: $...$ and \(...\) within a line, $$...$$ and \[...\] as a block of their own. */
import type { TokenizerAndRendererExtension, Tokens } from "marked";

export interface MathToken extends Tokens.Generic {
  type: "math";
  /** The formula without its signs. */
  text: string;
  display: boolean;
}

const BLOCK = [/^ {0,3}\$\$([\s\S]+?)\$\$[ \t]*(?:\n|$)/, /^ {0,3}\\\[([\s\S]+?)\\\][ \t]*(?:\n|$)/];
// As pandoc has it: no space inside the dollars and no digit after them, so that "$5 and $10" is money.
const INLINE: [RegExp, boolean][] = [
  [/^\$\$([^$]+?)\$\$/, true],
  [/^\$(?!\s)((?:\\.|[^\\$\n])+?)(?<!\s)\$(?!\d)/, false],
  [/^\\\(([\s\S]+?)\\\)/, false],
  [/^\\\[([\s\S]+?)\\\]/, true],
];

const token = (raw: string, text: string, display: boolean): MathToken => ({
  type: "math",
  raw,
  text: text.trim(),
  display,
});

/** For marked's lexer: a formula as a block, and one within a line. */
export const MATH: TokenizerAndRendererExtension[] = [
  {
    name: "math",
    level: "block",
    start: (source) => source.match(/\n {0,3}(?:\$\$|\\\[)/)?.index,
    tokenizer(source) {
      for (const pattern of BLOCK) {
        const found = pattern.exec(source);
        if (found) return token(found[0], found[1] ?? "", true);
      }
      return undefined;
    },
  },
  {
    name: "formula",
    level: "inline",
    start: (source) => source.match(/\$|\\[([]/)?.index,
    tokenizer(source) {
      for (const [pattern, display] of INLINE) {
        const found = pattern.exec(source);
        if (found) return token(found[0], found[1] ?? "", display);
      }
      return undefined;
    },
  },
];
