/** Ranks as a person gives them, and the order that they come to. */

/** Ids of the ranked answers, the best first; those of one rank in one list. */
export function rankingOf(
  answers: readonly { id: string }[],
  ranks: Readonly<Record<string, number>>,
): string[][] {
  const tiers = new Map<number, string[]>();
  for (const { id } of answers) {
    const rank = ranks[id];
    if (rank !== undefined) tiers.set(rank, [...(tiers.get(rank) ?? []), id]);
  }
  return [...tiers.keys()].sort((a, b) => a - b).map((rank) => tiers.get(rank) ?? []);
}
