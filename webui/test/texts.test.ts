/** Every language says everything, and each text takes what the English one takes. */
import { describe, expect, it } from "vitest";
import { adminEn } from "../src/texts/console/admin-en";
import { adminZh } from "../src/texts/console/admin-zh";
import { en as consoleEn } from "../src/texts/console/en";
import { zh as consoleZh } from "../src/texts/console/zh";
import { en } from "../src/texts/en";
import { en as explorerEn } from "../src/texts/explorer/en";
import { zh as explorerZh } from "../src/texts/explorer/zh";
import { en as judgingEn } from "../src/texts/judging/en";
import { zh as judgingZh } from "../src/texts/judging/zh";
import { zh } from "../src/texts/zh";

type Leaves = Map<string, unknown>;
function leaves(node: unknown, path = "", found: Leaves = new Map()): Leaves {
  if (typeof node === "object" && node !== null)
    for (const [key, value] of Object.entries(node)) leaves(value, path ? `${path}.${key}` : key, found);
  else found.set(path, node);
  return found;
}

/** The first thing that a text takes, where it is no number or word. */
const FIRST: Record<string, unknown> = {
  "duel.ready": { voteA: "1", voteB: "2", voteTie: "=", voteBothBad: "0" },
  "ranking.order": [[1, 2], [3]],
  "queue.known": "both_bad",
  "mine.said": "both_bad",
};

describe.each([
  ["of the page", en, zh],
  ["of the explorer", explorerEn, explorerZh],
  ["of the queue", judgingEn, judgingZh],
  ["behind the dashboard", consoleEn, consoleZh],
  ["of the dashboard", adminEn, adminZh],
])("texts %s", (_, inEnglish, inChinese) => {
  const english = leaves(inEnglish);
  const chinese = leaves(inChinese);

  it("has the same keys in each language", () => {
    expect([...chinese.keys()].sort()).toEqual([...english.keys()].sort());
  });

  it("has no empty text where English has words", () => {
    for (const [key, value] of english)
      if (typeof value === "string" && value !== "") expect(chinese.get(key), key).toMatch(/\S/);
  });

  it("makes a sentence of any numbers", () => {
    for (const [key, value] of [...english, ...chinese])
      if (typeof value === "function") {
        const said = value(FIRST[key] ?? 2, 50, "x", "y", "z", 3);
        expect(typeof said === "string" && !/undefined|NaN/.test(said), key).toBe(true);
      }
  });
});

describe("the line after a vote", () => {
  it("says when a training is due", () => {
    expect(en.duel.counted(13, 50)).toBe("Counted, 13 of 50 until the next training");
    expect(en.duel.counted(50, 50)).toContain("due");
  });
});
