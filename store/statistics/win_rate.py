"""Win rates of one version over another, from blind duels: ties are half a win, `both_bad` counts apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import numpy as np

from store.records import Record
from store.statistics.intervals import Counts, clustered, few_people_speak, wilson
from store.statistics.judged import JudgedDuel

_COLUMN = {"a": 0, "tie": 1, "b": 2, "both_bad": 3}


class PairRate(Record):
    """How version `a`, the newer one, did against version `b`."""

    a: int
    b: int
    wins_a: int
    ties: int
    wins_b: int
    both_bad: int
    """Not among the `n`: neither version won."""
    rate: float | None
    """(wins_a + ties / 2) / n."""
    low: float | None
    high: float | None
    n: int
    annotators: int
    interval: Literal["wilson", "annotators"] = "wilson"
    """`annotators`: few people speak, so the interval is a bootstrap over them."""


def pair_rates(duels: Iterable[JudgedDuel]) -> list[PairRate]:
    """Every pair of versions that met, newest first. A version against itself is no pair."""
    tables: dict[tuple[int, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * 4))
    for duel in duels:
        if duel.version_a == duel.version_b:
            continue
        column = _COLUMN[duel.choice]
        newer, older = duel.version_a, duel.version_b
        if newer < older:
            newer, older = older, newer
            column = {0: 2, 2: 0}.get(column, column)
        tables[newer, older][duel.annotator][column] += 1
    return [
        win_rate(newer, older, np.array(list(people.values()), dtype=np.float64))
        for (newer, older), people in sorted(tables.items(), reverse=True)
    ]


def win_rate(a: int, b: int, table: Counts) -> PairRate:
    """Rate and interval. table: (A, 4), each annotator's wins of a, ties, wins of b, both bad.

    Wilson on the decisive votes, the ties taken as given. Where few people speak, a bootstrap over them: the
    wider of both, because a bootstrap of two people who agree has no width.
    """
    wins, ties, losses, both_bad = (int(total) for total in table.sum(axis=0))
    judged = table[table[:, :3].sum(axis=1) > 0]
    n = wins + ties + losses
    rate = low = high = None
    interval: Literal["wilson", "annotators"] = "wilson"
    if n:
        points, cases = judged[:, 0] + judged[:, 1] / 2, judged[:, :3].sum(axis=1)
        rate = (wins + ties / 2) / n
        low, high = _wilson_with_ties(wins, ties, losses)
        if few_people_speak(cases):
            interval = "annotators"
            lower, upper = clustered(points, cases)
            low, high = min(low, lower), max(high, upper)
    return PairRate(
        a=a, b=b, wins_a=wins, ties=ties, wins_b=losses, both_bad=both_bad,
        rate=rate, low=low, high=high, n=n, annotators=len(table), interval=interval,
    )  # fmt: skip


def _wilson_with_ties(wins: int, ties: int, losses: int) -> tuple[float, float]:
    """The interval of the decisive votes, moved to the scale on which a tie is half a win."""
    decisive, n = wins + losses, wins + ties + losses
    if decisive == 0:  # nothing but ties: of a share that is a half
        return wilson(n / 2, n)
    low, high = wilson(wins, decisive)
    return (decisive * low + ties / 2) / n, (decisive * high + ties / 2) / n
