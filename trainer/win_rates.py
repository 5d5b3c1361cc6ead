"""Win rates: wins, ties and losses of one policy against another, for each domain. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from store.records import Record
from store.statistics.intervals import wilson
from trainer.intervals import bootstrap_mean
from trainer.pair_report import UNTAGGED, Share

Outcome = Literal["win", "tie", "loss"]
POINTS: Mapping[Outcome, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}
EVERYTHING = "all"


class WinRate(Record):
    """How one policy did in its duels. `rate` and its interval are None when no verdict could be read."""

    wins: int
    ties: int
    losses: int
    n: int
    """Duels that were decided, ties among them."""
    unreadable: int
    """Duels with a reply that says neither A, B nor tie: in no other number here."""
    rate: float | None
    """(wins + ties / 2) / n."""
    low: float | None
    high: float | None
    """95 % bootstrap interval over the prompts."""

    def share(self, outcome: Outcome) -> float | None:
        """Of the n duels, those that ended so."""
        count = {"win": self.wins, "tie": self.ties, "loss": self.losses}[outcome]
        return count / self.n if self.n else None


def win_rate(outcomes: Sequence[Outcome | None], seed: int = 0) -> WinRate:
    """Counts, rate and interval of one duel a prompt; None is a duel whose verdict could not be read."""
    counts = Counter(outcomes)
    points = [POINTS[outcome] for outcome in outcomes if outcome is not None]
    low, high = points_interval(points, seed) if points else (None, None)
    return WinRate(
        wins=counts["win"],
        ties=counts["tie"],
        losses=counts["loss"],
        n=len(points),
        unreadable=counts[None],
        rate=fmean(points) if points else None,
        low=low,
        high=high,
    )


def points_interval(points: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of mean points, each between 0 and 1.

    A bootstrap of equal values has no width, which would be certainty from three duels: Wilson's stands in.
    """
    if min(points) == max(points):
        return wilson(sum(points), len(points))
    return bootstrap_mean(points, seed)


def share(count: float, n: int) -> Share | None:
    """count / n with its 95 % Wilson interval; None of nothing."""
    if n == 0:
        return None
    low, high = wilson(count, n)
    return Share(share=count / n, low=low, high=high, n=n)


def domains(tags: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Domain -> its cases by number: all of them first, then each tag by name; a case may have several."""
    found: dict[str, list[int]] = {}
    for index, names in enumerate(tags):
        for name in dict.fromkeys(names or (UNTAGGED,)):
            found.setdefault(name, []).append(index)
    everything = {EVERYTHING: list(range(len(tags)))}
    return everything | (dict(sorted(found.items())) if set(found) != {UNTAGGED} else {})
