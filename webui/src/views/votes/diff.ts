/** What is on one side only: words of two answers, compared by their longest common subsequence. */

export interface Piece {
  text: string;
  same: boolean;
}

/** Beyond this many words times words a whole comparison would freeze the page: then lines are compared. */
const MOST_CELLS = 4_000_000;

export function diff(a: string, b: string): [Piece[], Piece[]] {
  const words = (text: string): string[] => text.match(/\s+|[^\s]+/g) ?? [];
  let [one, other] = [words(a), words(b)];
  if (one.length * other.length > MOST_CELLS) {
    const lines = (text: string) => text.match(/[^\n]*\n?/g)?.filter(Boolean) ?? [];
    [one, other] = [lines(a), lines(b)];
  }
  const common = commonIndexes(one, other);
  return [pieces(one, common[0]), pieces(other, common[1])];
}

function commonIndexes(a: string[], b: string[]): [Set<number>, Set<number>] {
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] =
        a[i] === b[j]
          ? (longest[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
  const [inA, inB] = [new Set<number>(), new Set<number>()];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      inA.add(i++);
      inB.add(j++);
    } else if ((longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0)) i++;
    else j++;
  }
  return [inA, inB];
}

/** Neighbours that are alike become one piece; blanks between two changed words are changed too. */
function pieces(words: string[], common: Set<number>): Piece[] {
  const found: Piece[] = [];
  words.forEach((text, index) => {
    const between = /^\s+$/.test(text) && !common.has(index - 1) && !common.has(index + 1);
    const same = common.has(index) && !between;
    const last = found.at(-1);
    if (last && last.same === same) last.text += text;
    else found.push({ text, same });
  });
  return found;
}
