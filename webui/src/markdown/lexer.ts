/** A text that grows, cut into blocks: what is finished is not read again with every word. */
import { Marked, type Token } from "marked";
import { MATH } from "./math";

const marked = new Marked({ extensions: MATH });
/** `[name]: address`, which any block may refer to; and carriage returns, which the lexer leaves out. */
const FAR_REACHING = /^ {0,3}\[[^\]]+\]:|\r/m;

/** The blocks of a text. */
interface Read {
  text: string;
  blocks: Token[];
  /**
   * How many of them are finished. The last two that are no blank lines are not: what begins as a paragraph ("3")
   * may turn out to belong to the list before it ("3. item").
   */
  finished: number;
  /** Where the others begin in the text. */
  from: number;
}

function taken(text: string, blocks: Token[]): Read {
  const last = blocks.findLastIndex((block) => block.type !== "space");
  const finished = Math.max(
    0,
    blocks.findLastIndex((block, index) => block.type !== "space" && index < last),
  );
  const from = blocks.slice(0, finished).reduce((length, block) => length + block.raw.length, 0);
  return { text, blocks, finished, from };
}

/** A reader of one text as it grows. What it says is what the lexer says of the whole text. */
export function reader(): (text: string) => Token[] {
  let read = taken("", []);
  return (text) => {
    const goesOn = read.finished > 0 && text.startsWith(read.text) && !FAR_REACHING.test(text);
    const known = goesOn ? read.blocks.slice(0, read.finished) : [];
    const rest = marked.lexer(goesOn ? text.slice(read.from) : text);
    read = taken(text, [...known, ...rest]);
    return read.blocks;
  };
}
