/** Keys: one name for a key on every layout, one action for a key, none while somebody writes. */
import { afterEach, describe, expect, it } from "vitest";
import { capOf, namesOf, rebind, resetKeys } from "../src/keys";

const pressed = (
  key: string,
  code = "",
  modifiers: { shift?: boolean; control?: boolean; alt?: boolean } = {},
) =>
  namesOf({
    key,
    code,
    shiftKey: modifiers.shift ?? false,
    ctrlKey: modifiers.control ?? false,
    metaKey: false,
    altKey: modifiers.alt ?? false,
  });
const kept = () => JSON.parse(localStorage.getItem("heed.keys") ?? "null")?.changed;

afterEach(() => {
  resetKeys();
  localStorage.clear();
});

describe("namesOf", () => {
  it("knows a digit by its place, with and without Shift, on every layout", () => {
    expect(pressed("1", "Digit1")).toEqual(["1"]);
    expect(pressed("!", "Digit1", { shift: true })).toContain("Shift+1"); // English
    expect(pressed("&", "Digit1")).toContain("1"); // French
    expect(pressed("1", "Digit1", { shift: true })).toEqual(["Shift+1"]);
    expect(pressed("2", "Numpad2")).toEqual(["2"]);
  });

  it("knows a sign by what it writes: = stands above 0 in German", () => {
    expect(pressed("=", "Equal")).toEqual(["="]);
    expect(pressed("=", "Digit0", { shift: true })).toContain("=");
    expect(pressed("?", "Slash", { shift: true })).toEqual(["?"]);
  });

  it("names letters without regard to case, and keys with Ctrl", () => {
    expect(pressed("s", "KeyS")).toEqual(["S"]);
    expect(pressed("k", "KeyK", { control: true })).toEqual(["Ctrl+K"]);
    expect(pressed("O", "KeyO", { control: true, shift: true })).toEqual(["Ctrl+Shift+O"]);
  });

  it("has no name for a modifier alone or with Alt, which the browser and the layout use", () => {
    expect(pressed("Shift", "ShiftLeft", { shift: true })).toEqual([]);
    expect(pressed("ArrowLeft", "ArrowLeft", { alt: true })).toEqual([]);
  });
});

describe("rebind", () => {
  it("gives the key's old action the freed one, so that no key means two things", () => {
    rebind("voteA", "2");
    expect(kept()).toEqual({ voteA: "2", voteB: "1" });
    rebind("voteA", "X");
    expect(kept()).toEqual({ voteA: "X", voteB: "1" });
  });
});

describe("capOf", () => {
  it("shows a key as it is printed, the plus sign too", () => {
    expect([capOf("Ctrl+Shift+O"), capOf("ArrowUp"), capOf("+"), capOf("Ctrl++")]).toEqual([
      "Ctrl Shift O",
      "↑",
      "+",
      "Ctrl +",
    ]);
  });
});
