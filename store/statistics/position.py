"""Position bias: how often the left answer wins. Sides are drawn by chance, so half is what to expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from store.statistics.intervals import Share, share_of
from store.statistics.judged import JudgedDuel


def left_share(duels: Iterable[JudgedDuel]) -> Share:
    """Of the decisive votes, those for side a, which is shown on the left."""
    counts = Counter(duel.choice for duel in duels)
    return share_of(counts["a"], counts["a"] + counts["b"])


def left_share_by_annotator(duels: Iterable[JudgedDuel]) -> dict[str, Share]:
    """The same for each annotator."""
    counts = Counter((duel.annotator, duel.choice) for duel in duels)
    people = dict.fromkeys(annotator for annotator, _ in counts)
    return {one: share_of(counts[one, "a"], counts[one, "a"] + counts[one, "b"]) for one in people}
