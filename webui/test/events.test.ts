/** A cut line goes on after the last id that was seen. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openLine, waitMs } from "../src/events";
import { FakeEventSource } from "./server";

beforeEach(() => {
  FakeEventSource.all = [];
  vi.stubGlobal("EventSource", FakeEventSource);
  vi.useFakeTimers();
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("openLine", () => {
  it("opens anew after the last id when the browser has given up", () => {
    const seen: string[] = [];
    const states: string[] = [];
    const line = openLine(
      "/s",
      ["x"],
      null,
      (_name, id) => seen.push(id),
      (state) => states.push(state),
    );
    FakeEventSource.last().say("x", {}, "7-3");
    FakeEventSource.last().refuse();
    expect(states).toEqual(["waiting"]);
    vi.advanceTimersByTime(1300);
    expect(FakeEventSource.all.map((one) => one.url)).toEqual(["/s", "/s?after=7-3"]);
    line.close();
  });

  it("waits longer each time, whatever the browser itself would do", () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    const line = openLine("/s", ["x"], null, () => undefined, () => undefined); // biome-ignore format: short
    for (const wait of [1000, 2000, 4000, 8000, 8000]) {
      const before = FakeEventSource.all.length;
      FakeEventSource.last().readyState = FakeEventSource.CONNECTING;
      FakeEventSource.last().onerror?.();
      vi.advanceTimersByTime(wait - 1);
      expect(FakeEventSource.all).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(FakeEventSource.all).toHaveLength(before + 1);
    }
    line.close();
  });

  it("tries at once when the network is back", () => {
    const line = openLine("/s", ["x"], null, () => undefined, () => undefined); // biome-ignore format: short
    FakeEventSource.last().refuse();
    dispatchEvent(new Event("online"));
    expect(FakeEventSource.all).toHaveLength(2);
    vi.advanceTimersByTime(60_000);
    expect(FakeEventSource.all).toHaveLength(2);
    line.close();
  });

  it("begins after an id that was kept", () => {
    openLine(
      "/s",
      [],
      "5-1",
      () => undefined,
      () => undefined,
    ).close();
    expect(FakeEventSource.last().url).toBe("/s?after=5-1");
  });

  it("does not come back after close", () => {
    const line = openLine(
      "/s",
      [],
      null,
      () => undefined,
      () => undefined,
    );
    FakeEventSource.last().refuse();
    line.close();
    vi.advanceTimersByTime(60_000);
    expect(FakeEventSource.all).toHaveLength(1);
  });
});

describe("waitMs", () => {
  it("is 1, 2, 4, 8 and no more, spread by a quarter to each side", () => {
    expect([0, 1, 2, 3, 9].map((tries) => waitMs(tries, () => 0.5))).toEqual([1000, 2000, 4000, 8000, 8000]);
    expect([waitMs(0, () => 0), waitMs(0, () => 1)]).toEqual([750, 1250]);
  });
});
