/** Differences: by words for an edit, by sentences between the sides of a duel. */
import { describe, expect, it } from "vitest";
import { diffOf, onlyHere, sentencesOf, wordsOf } from "../src/diff";

const said = (before: string, after: string) =>
  diffOf(wordsOf(before), wordsOf(after)).map(({ kind, text }) => [kind, text]);

describe("diffOf", () => {
  it("shows what was replaced, what is gone before what is new", () => {
    expect(said("The sky is green today.", "The sky is blue today.")).toEqual([
      ["same", "The sky is "],
      ["gone", "green "],
      ["new", "blue "],
      ["same", "today."],
    ]);
  });

  it("gives both texts back, whatever they are", () => {
    const words = ["a ", "b ", "c ", "\n", "好"];
    let seed = 7;
    const random = (n: number) => (seed = (seed * 48_271) % 2_147_483_647) % n;
    for (let round = 0; round < 200; round++) {
      const text = () => Array.from({ length: random(9) }, () => words[random(words.length)] ?? "");
      const [before, after] = [text(), text()];
      const pieces = diffOf(before, after);
      const without = (kind: string) =>
        pieces.filter((one) => one.kind !== kind).map((one) => one.text).join(""); // biome-ignore format: short
      expect([without("new"), without("gone")]).toEqual([before.join(""), after.join("")]);
    }
  });

  it("says nothing of equal texts", () => {
    expect(said("The same.", "The same.")).toEqual([["same", "The same."]]);
    expect(said("", "")).toEqual([]);
  });

  it("takes Chinese sign by sign", () => {
    expect(said("天空是绿的", "天空是蓝的")).toEqual([
      ["same", "天空是"],
      ["gone", "绿"],
      ["new", "蓝"],
      ["same", "的"],
    ]);
  });
});

describe("onlyHere", () => {
  it("marks the sentences that the other text does not say, without regard to case and signs", () => {
    const marked = onlyHere("It is blue. It is far away!", "**It is blue!** Nobody knows why.");
    expect(marked).toEqual([
      { text: "It is blue. ", only: false },
      { text: "It is far away!", only: true },
    ]);
  });

  it("takes the text apart without losing a sign", () => {
    const text = "One. Two?\n\n- three\n- four（是的。）五";
    expect(sentencesOf(text).join("")).toBe(text);
  });
});
