/** The reward hacking panel: rates with n and interval, a chart that says what it shows, and what to do without duels. */
import { act, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { setLanguage } from "../src/texts";
import { hackingTexts } from "../src/texts/hacking";
import { opinionTexts } from "../src/texts/opinion";
import { isAccessible, open, serverOfEachTest } from "./page";
import type { ScriptedServer } from "./server";

const share = (value: number | null, n: number) => ({
  share: value,
  low: value === null ? null : value - 0.1,
  high: value === null ? null : value + 0.1,
  n,
});
const version = (number: number, people: number, model: number) => ({
  number,
  people: share(people, 40),
  model: share(model, 40),
  lead: 1.25,
  predicted: share(0.6, 90),
  length: 1.8,
  entropy: null,
  repeats: 0.05,
});
const FOUND = {
  level: "stop",
  words: "the reward model prefers v4 to older versions in 85%",
  since: "2026-01-01T00:00:00Z",
  judged: [4],
  look_back: 3,
  versions: [version(3, 0.62, 0.8), version(4, 0.2, 0.85)],
};

const held = serverOfEachTest();
let server: ScriptedServer;
beforeEach(() => {
  server = held.current;
  server.admin();
});

describe("the reward hacking panel", () => {
  it("says level, words, and every rate with its interval and n", async () => {
    server.on("GET /api/v1/hacking", () => FOUND);
    open("/admin");
    const panel = await screen.findByTestId("hacking");
    expect(panel.textContent).toContain("Reward hacking: the schedule was paused");
    expect(panel.textContent).toContain(FOUND.words);
    const chart = within(panel).getByTestId("hacking-chart");
    expect(chart.getAttribute("aria-label")).toContain("v4: people 20%, reward model 85%, 40 duels");
    const row = within(panel).getByTestId("hacking-4");
    expect([...row.children].map((cell) => cell.textContent)).toEqual([
      "v4", "20% (10% – 30%)", "85% (75% – 95%)", "40", "1.25", "60% (50% – 70%) of 90", "× 1.8", "–", "5%",
    ]); // biome-ignore format: a row
    await isAccessible();
  });

  it("says what brings duels between versions where there were none", async () => {
    const alone = { ...version(1, 0, 0), people: share(null, 0), model: share(null, 0), lead: null };
    server.on("GET /api/v1/hacking", () => ({ ...FOUND, level: "quiet", judged: [], versions: [alone] }));
    open("/admin");
    const panel = await screen.findByTestId("hacking");
    expect(panel.textContent).toContain("release.canary_share");
    expect(within(panel).queryByTestId("hacking-chart")).toBeNull();
    expect(within(panel).getByTestId("hacking-1").textContent).toContain("60% (50% – 70%) of 90");
  });

  it("speaks Chinese, with a word for each English one", async () => {
    server.on("GET /api/v1/hacking", () => FOUND);
    open("/admin");
    await screen.findByTestId("hacking");
    await act(() => setLanguage("zh"));
    await waitFor(() => expect(screen.getByTestId("hacking").textContent).toContain("奖励作弊：计划已暂停"));
    for (const texts of [hackingTexts, opinionTexts])
      expect(Object.keys(texts.zh)).toEqual(Object.keys(texts.en));
  });
});
