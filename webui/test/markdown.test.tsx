/** A model's text is untrusted: nothing in it runs, loads or leads where it should not. */
import { render } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { Markdown } from "../src/markdown/blocks";
import { highlight, type Span } from "../src/markdown/highlight";
import { decodeEntities, safeHref } from "../src/markdown/links";

const show = (text: string) => render(<Markdown text={text} streaming={false} />).container;

describe("Markdown", () => {
  it.each([
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](//other.example/path)",
    "[x](/api/v1/logout)",
    "[x](&#106;avascript:alert(1))",
  ])("makes no link of %s", (text) => {
    expect(show(text).querySelector("a")).toBeNull();
  });

  it.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "hello <b onclick='x'>there</b>",
    "<iframe src='https://other.example'></iframe>",
    "<style>body{display:none}</style>",
  ])("shows %s as it was written", (text) => {
    const container = show(text);
    expect(container.querySelector("script, img, b, iframe, style")).toBeNull();
    expect(container.textContent).toContain(text.trim());
  });

  it("loads no picture: it stands as a link", () => {
    const container = show("![a cat](https://other.example/cat.png)");
    expect(container.querySelector("img")).toBeNull();
    expect(container.querySelector("a")?.href).toBe("https://other.example/cat.png");
    expect(container.textContent).toBe("Image: a cat");
  });

  it("opens links elsewhere without telling where from", () => {
    const link = show("[docs](https://example.org/a)").querySelector("a");
    expect([link?.target, link?.rel]).toEqual(["_blank", "noopener noreferrer nofollow"]);
  });

  it("renders what models write", () => {
    const container = show(
      "## Title\n\n- one\n- **two**\n\n1. first\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n> said\n\n~~old~~",
    );
    for (const tag of ["h5", "ul li strong", "ol li", "table td code", "blockquote", "del"])
      expect(container.querySelector(tag), tag).not.toBeNull();
  });

  it.each([
    "1. **One**\n2. two\n   - inner\n   - more\n\n3. now loose\n\nAfter.",
    "- [ ] to do\n- [x] done\n- `code`\n\n  and a paragraph\n",
    "Before\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n> quoted\n> more\n\n```js\nlet a\n```\n\n## End",
  ])("stands, word by word, as it would at once: %j", (text) => {
    const { rerender, container } = render(<Markdown text="" streaming />);
    for (let end = 1; end < text.length; end++) rerender(<Markdown text={text.slice(0, end)} streaming />);
    rerender(<Markdown text={text} streaming={false} />);
    expect(container.innerHTML).toBe(show(text).innerHTML);
  });

  it("shows an open code fence as code while it streams", () => {
    const { container } = render(<Markdown text={"Look:\n\n```python\nprint(1 < 2)"} streaming />);
    expect(container.querySelector("pre code")?.textContent).toBe("print(1 < 2)");
  });

  it("decodes entities as text", () => {
    expect(show("a &lt;b&gt; &amp; c").textContent).toBe("a <b> & c");
  });
});

describe("links and entities", () => {
  it("keeps http, https and mailto only", () => {
    expect(safeHref("https://example.org/")).toBe("https://example.org/");
    expect(safeHref("mailto:a@example.org")).toBe("mailto:a@example.org");
    for (const bad of ["file:///etc/passwd", "blob:https://x/1", "ws://x", "", "about:blank"])
      expect(safeHref(bad)).toBeNull();
  });

  it("leaves unknown and impossible entities alone", () => {
    expect(decodeEntities("&nope; &#x110000; &#0; &#65;")).toBe("&nope; &#x110000; &#0; A");
  });
});

describe("highlight", () => {
  const flat = (spans: Span[]): string =>
    spans.map((one) => (typeof one === "string" ? one : flat(one.children))).join("");

  it("gives spans whose text is the code, angle brackets and all", () => {
    const code = "def f(x):\n    return '<b>' if x < 2 else None";
    const spans = highlight(code, "python");
    expect(spans && flat(spans)).toBe(code);
    expect(JSON.stringify(spans)).toContain('"scope":"keyword"');
  });

  it("says null to a language that it does not know", () => {
    expect(highlight("x", "brainfuck")).toBeNull();
  });
});

describe("formulas", () => {
  const sources = (text: string) =>
    [...show(text).querySelectorAll(".formula")].map((one) => one.textContent);

  it("are found within a line and as blocks, in both notations", () => {
    expect(sources("so $a+b$ and \\(c\\)\n\n$$\n\\frac{1}{2}\n$$\n\n\\[d\\]")).toEqual([
      "a+b",
      "c",
      "\\frac{1}{2}",
      "d",
    ]);
  });

  it("are not money, and not code", () => {
    expect(sources("It costs $5 or $10. `$a$` stays.")).toEqual([]);
    expect(show("It costs $5 or $10.").textContent).toBe("It costs $5 or $10.");
  });

  it("are not found before their end has come", () => {
    expect(show("so $$\\frac{1}").textContent).toContain("$$\\frac{1}");
  });
});
