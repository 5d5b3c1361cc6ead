"""What the reward hacking watch looks at: the duels between versions that the reward model predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from store.explorer.counted import counts
from store.explorer.table import VoteRow
from store.opinions import Thought
from store.statistics.hacking import Step


def steps(rows: Iterable[VoteRow], thoughts: Mapping[str, Thought]) -> list[Step]:
    """Each version's decisive blind duels with older ones, newest first; checks and leaks left out."""
    met: dict[int, list[tuple[bool, float]]] = {}
    for row in rows:
        newer = max(row.versions, default=0)
        lead = _lead(row, thoughts.get(row.vote.id), newer)
        if lead is not None:
            met.setdefault(newer, []).append(((row.vote.choice == "a") == (row.versions[0] == newer), lead))
    return [
        Step(
            version=number,
            wins=sum(won for won, _ in duels),
            liked=sum(lead > 0 for _, lead in duels),
            n=len(duels),
            lead=sum(lead for _, lead in duels) / len(duels),
        )
        for number, duels in sorted(met.items(), reverse=True)
    ]


def between_versions(row: VoteRow) -> bool:
    """A decisive vote on a blind duel between two versions."""
    return len(set(row.versions)) == 2 and row.vote.choice in ("a", "b") and counts(row)


def _lead(row: VoteRow, thought: Thought | None, newer: int) -> float | None:
    """Score of the newer version's answer over the older one's, where it was a prediction."""
    if thought is None or thought.learned_from or thought.margin is None or not between_versions(row):
        return None
    return thought.margin if row.versions[0] == newer else -thought.margin
