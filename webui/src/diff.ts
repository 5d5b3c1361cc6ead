/** What two texts have apart: by words for an edit, by sentences for a duel. */

export interface Piece {
  kind: "same" | "gone" | "new";
  text: string;
}

/** Beyond this many cells the table of common parts is not made; the texts then count as all different. */
const MOST_CELLS = 4_000_000;

/** The shortest way from one list to the other, found by the longest common subsequence. */
export function diffOf(before: readonly string[], after: readonly string[]): Piece[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const a = before.slice(start, before.length - end);
  const b = after.slice(start, after.length - end);
  const pieces: Piece[] = before.slice(0, start).map((text) => ({ kind: "same", text }));
  pieces.push(...middle(a, b));
  pieces.push(...before.slice(before.length - end).map((text): Piece => ({ kind: "same", text })));
  return joined(pieces);
}

function middle(a: readonly string[], b: readonly string[]): Piece[] {
  if (a.length * b.length > MOST_CELLS)
    return [...a.map((text): Piece => ({ kind: "gone", text })), ...b.map((text): Piece => ({ kind: "new", text }))];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => common[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      common[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const pieces: Piece[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      pieces.push({ kind: "same", text: a[i] ?? "" });
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1)))
      pieces.push({ kind: "gone", text: a[i++] ?? "" });
    else pieces.push({ kind: "new", text: b[j++] ?? "" });
  }
  return pieces;
}

/** Neighbours of one kind as one piece; in a change what is gone stands before what is new. */
function joined(pieces: readonly Piece[]): Piece[] {
  const result: Piece[] = [];
  let gone = "";
  let added = "";
  const flush = () => {
    if (gone) result.push({ kind: "gone", text: gone });
    if (added) result.push({ kind: "new", text: added });
    gone = "";
    added = "";
  };
  for (const { kind, text } of pieces) {
    if (kind === "gone") gone += text;
    else if (kind === "new") added += text;
    else {
      flush();
      const last = result.at(-1);
      if (last?.kind === "same") last.text += text;
      else result.push({ kind, text });
    }
  }
  flush();
  return result;
}

/** Words with the space after them; a sign of Chinese or Japanese is a word. */
export const wordsOf = (text: string): string[] =>
  text.match(/[\u3000-\u303f\u4e00-\u9fff\u3040-\u30ff\uff00-\uffef]|[^\s\u3000-\u303f\u4e00-\u9fff\u3040-\u30ff\uff00-\uffef]+\s*|\s+/g) ?? [];

/** Sentences and lines, each with what ends it. */
export const sentencesOf = (text: string): string[] => text.match(/[^.!?。！？\n]*(?:[.!?。！？]+["'”’)]*\s*|\n+|$)/g)?.filter(Boolean) ?? [];

const bare = (sentence: string) => sentence.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();

/** The text in sentences, each marked when the other text does not say it too. */
export function onlyHere(text: string, other: string): { text: string; only: boolean }[] {
  const there = new Set(sentencesOf(other).map(bare));
  return sentencesOf(text).map((sentence) => {
    const words = bare(sentence);
    return { text: sentence, only: words !== "" && !there.has(words) };
  });
}
