/** How a vote reads: its outcome, and what became of it. */
import type { Texts } from "../../texts/explorer";
import type { VoteRow } from "./calls";

/** "Answer 1", "Tie", "Up": what the annotator said, in words. */
export function outcomeWords(row: { outcome: string; strength: number }, texts: Texts): string {
  const words = texts.votes.values as Record<string, string>;
  const said = words[`outcome_${row.outcome}`] ?? row.outcome;
  return row.strength === 2 ? texts.votes.much(said) : said;
}

export const statusChip = (row: VoteRow): string =>
  row.status === "excluded" ? "chip chip-bad" : row.status === "undone" ? "chip" : "chip chip-good";

export const rmChip = (row: VoteRow): string =>
  row.reward_model === "agree"
    ? "chip chip-good"
    : row.reward_model === "disagree"
      ? "chip chip-turn"
      : "chip";

/** "v3 – v2", in the order shown. */
export const versionsText = (row: VoteRow): string => row.versions.map((one) => `v${one}`).join(" – ");
