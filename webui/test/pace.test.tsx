/** A text that is costly to draw is drawn more seldom, and never left behind. */
import { render, waitFor } from "@testing-library/react";
import { afterEach, expect, it, vi } from "vitest";
import { usePaced } from "../src/markdown/pace";

let clock = 0;
let cost = 0;
const drawn: string[] = [];

function Text({ text, streaming }: { text: string; streaming: boolean }) {
  const shown = usePaced(text, streaming);
  if (drawn.at(-1) !== shown) {
    drawn.push(shown);
    clock += cost;
  }
  return <p>{shown}</p>;
}

function streams(each: number, words = 12) {
  vi.spyOn(performance, "now").mockImplementation(() => clock);
  [clock, cost] = [1000, each];
  drawn.length = 0;
  const { rerender, container } = render(<Text text="" streaming />);
  let text = "";
  for (let word = 0; word < words; word++) {
    clock += 16;
    text += `w${word} `;
    rerender(<Text text={text} streaming />);
  }
  return { text, rerender, container };
}
afterEach(() => vi.restoreAllMocks());

it("draws every word where that is cheap", () => {
  streams(1);
  expect(drawn).toHaveLength(13);
});

it("spends an eighth of the time on a text that is costly, and catches up without another word", async () => {
  const { text, container } = streams(8);
  // Of 12 frames: 8 ms, then 64 ms of rest, which are four frames.
  expect(drawn).toEqual(["", "w0 ", "w0 w1 w2 w3 w4 ", "w0 w1 w2 w3 w4 w5 w6 w7 w8 "]);
  clock += 100;
  await waitFor(() => expect(container.textContent).toBe(text));
});

it("shows the whole text at its end, and another text at once", () => {
  const { text, rerender } = streams(8);
  rerender(<Text text={text} streaming={false} />);
  expect(drawn.at(-1)).toBe(text);
  rerender(<Text text="Another" streaming />);
  expect(drawn.at(-1)).toBe("Another");
});
