/** A model's text as React elements: markdown by marked's lexer, no HTML, no pictures from elsewhere. */
import type { Token, Tokens } from "marked";
import { createContext, type Key, memo, type ReactNode, useContext, useMemo, useState } from "react";
import { useTexts } from "../texts";
import { CodeBlock } from "./code";
import { Formula } from "./formula";
import { reader } from "./lexer";
import { decodeEntities, safeHref } from "./links";
import type { MathToken } from "./math";

/** Level of the heading that the text stands under: its own begin one below. */
export const UnderHeading = createContext(3);

/** The whole text. A block whose source did not change is not rendered again while the text streams. */
export function Markdown({ text, streaming }: { text: string; streaming: boolean }) {
  const [read] = useState(reader);
  const blocks = useMemo(
    () => read(text).filter((token) => token.type !== "space" && token.type !== "def"),
    [read, text],
  );
  return (
    <div className={`prose ${streaming ? "is-streaming" : ""}`}>
      {blocks.map((token, index) => (
        <Block key={index} token={token} open={streaming && index === blocks.length - 1} />
      ))}
    </div>
  );
}

interface BlockProps {
  token: Token;
  /** Its end may still be on the way. */
  open: boolean;
}

const Block = memo(
  ({ token, open }: BlockProps) => block(token, open),
  (before, after) => before.token.raw === after.token.raw && before.open === after.open,
);

function block(token: Token, open: boolean, key?: Key): ReactNode {
  switch (token.type) {
    case "heading":
      return <Heading key={key} token={token as Tokens.Heading} />;
    case "paragraph":
      return <p key={key}>{inlines((token as Tokens.Paragraph).tokens)}</p>;
    case "code": {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock key={key} code={text} language={(lang ?? "").split(/\s/)[0] ?? ""} open={open} />;
    }
    case "blockquote":
      return <blockquote key={key}>{blocksOf((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "list":
      return <List key={key} token={token as Tokens.List} />;
    case "table":
      return <Table key={key} token={token as Tokens.Table} />;
    case "hr":
      return <hr key={key} />;
    case "math":
      return <Formula key={key} source={(token as MathToken).text} display={(token as MathToken).display} />;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return <span key={key}>{tokens ? inlines(tokens) : decodeEntities(text)}</span>;
    }
    case "space":
    case "def":
    case "checkbox":
      return null;
    default:
      // HTML, and whatever a later marked may know: shown as it was written.
      return <p key={key}>{token.raw}</p>;
  }
}

const blocksOf = (tokens: Token[]) => tokens.map((token, index) => block(token, false, index));

function Heading({ token }: { token: Tokens.Heading }) {
  const level = Math.min(6, token.depth + useContext(UnderHeading));
  const Tag = `h${level}` as "h3" | "h4" | "h5" | "h6";
  return <Tag>{inlines(token.tokens)}</Tag>;
}

function List({ token }: { token: Tokens.List }) {
  const items = token.items.map((item, index) => (
    <li key={index}>
      {item.task ? (item.checked ? "☑ " : "☐ ") : null}
      {blocksOf(item.tokens)}
    </li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ token }: { token: Tokens.Table }) {
  return (
    <div className="table-wrap" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th key={index} scope="col">
                {inlines(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, index) => (
            <tr key={index}>
              {row.map((cell, column) => (
                <td key={column}>{inlines(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const inlines = (tokens: Token[]): ReactNode[] => tokens.map((token, index) => inline(token, index));

function inline(token: Token, key: Key): ReactNode {
  switch (token.type) {
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? inlines(tokens) : decodeEntities(text);
    }
    case "escape":
      return (token as Tokens.Escape).text;
    case "strong":
      return <strong key={key}>{inlines((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em key={key}>{inlines((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del key={key}>{inlines((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code key={key}>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br key={key} />;
    case "math":
      return <Formula key={key} source={(token as MathToken).text} display={(token as MathToken).display} />;
    case "link": {
      const { href, tokens } = token as Tokens.Link;
      return <Link key={key} href={href} content={inlines(tokens)} />;
    }
    case "image": {
      const { href, text } = token as Tokens.Image;
      return <Picture key={key} href={href} alt={text} />;
    }
    default:
      return token.raw;
  }
}

function Link({ href, content }: { href: string; content: ReactNode }) {
  const safe = safeHref(href);
  if (!safe) return <span>{content}</span>;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer nofollow">
      {content}
    </a>
  );
}

/** A picture is never loaded: its host would learn who reads this. It stands as a link. */
function Picture({ href, alt }: { href: string; alt: string }) {
  const texts = useTexts();
  return <Link href={href} content={texts.chat.image(decodeEntities(alt))} />;
}
