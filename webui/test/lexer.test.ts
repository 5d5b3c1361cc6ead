/** Read as it grows, a text has the blocks that it has when it is read as a whole. */
import { Marked } from "marked";
import { describe, expect, it } from "vitest";
import { reader } from "../src/markdown/lexer";
import { MATH } from "../src/markdown/math";

const marked = new Marked({ extensions: MATH });
const TEXTS = {
  "lists that go on after a blank line":
    "Intro:\n\n- one\n\n- two\n  more\n\n   lazy\n\nAfter.\n\n1. a\n2. b\n\n\n3. c\n",
  "a heading that is underlined late": "First line\nsecond line\n---\n\nText\n===\n\n***\n\nEnd",
  "code, open and closed, and indented":
    "Look:\n\n```python\nx = 1\n\n# no heading\n```\n\n    indented\n\n    too\n\ndone `a` *b*",
  "tables and quotes": "| a | b |\n|---|---|\n| 1 | `2` |\n\n> said\n\n> again\nlazily\n\n~~old~~ **new**\n",
  formulas: "The sum is\n\n$$\n\\sum_i i\n$$\n\nand $x$ costs $5 and $10.\n\n\\[ y \\]\n\nend",
  "definitions that come last":
    "See [the page] and [it][x].\n\nMore.\n\n[the page]: https://example.org\n[x]: https://example.com 'title'\n\nAnd [x].",
  "html and line ends of Windows": "<b>hi</b>\n\n<div>\n\ntext\n\n</div>\n\na\r\n\r\nb\r\n",
};

describe("a text that grows", () => {
  it.each(Object.entries(TEXTS))("has the same blocks: %s", (_, text) => {
    for (const step of [1, 3, 7]) {
      const read = reader();
      for (let end = step; end < text.length + step; end += step) {
        const now = text.slice(0, end);
        expect(read(now), JSON.stringify(now)).toEqual([...marked.lexer(now)]);
      }
    }
  });

  it("is read anew when it is another one", () => {
    const read = reader();
    read("One\n\nTwo\n\nThree");
    expect(read("Other\n\nText").map((one) => one.raw.trim())).toEqual(["Other", "", "Text"]);
  });

  it("keeps what is finished: the same objects, so that nothing of it is drawn again", () => {
    const read = reader();
    const [first] = read("One\n\nTwo\n\nThree");
    expect(read("One\n\nTwo\n\nThree and more")[0]).toBe(first);
  });
});
