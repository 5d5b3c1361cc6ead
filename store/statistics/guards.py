"""Does the canary do harm? Bad outcomes beside the active version's, by a test that may be looked at often.

Answers are compared in blocks: those that ended between two looks. Given how many answers of a block were
bad, how many of these are the canary's follows Fisher's noncentral hypergeometric law, whose one parameter is
the odds ratio: whatever the base rate is at that hour, and whatever share of the answers the canary has. The
ratio of two such laws is an e-value, so is the product over blocks (Ville's inequality), and so is a mixture
over alternatives. The safe logrank test is made the same way (Ter Schure, Perez-Ortiz, Ly and Grunwald 2021,
arXiv 2011.06931).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.records import Record

GuardName = Literal["failed", "slow", "stopped", "truncated", "thumbs_down"]
GUARDS: tuple[GuardName, ...] = ("failed", "slow", "stopped", "truncated", "thumbs_down")
ALPHA = 0.05
LIMIT = len(GUARDS) / ALPHA
"""Evidence that stops a canary. Bonferroni: all guards together stop a harmless one in at most 5 %."""
_BEYOND = np.array([1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
"""The alternatives that are bet on, as multiples of the allowed odds ratio; the same stake on each."""
SLOW_SHARE = 0.1
"""Slow is what comes later than all but this share of the first words so far, of both versions."""
SLOW_AFTER = 20
"""First words before anything is called slow."""
_FIRST_S, _FACTOR = 0.01, 1.25


class Outcomes(NamedTuple):
    """Of one version in one block: how many could have gone wrong, and did."""

    bad: int
    n: int


class Guard(Record):
    """One kind of bad outcome since the canary began, and the evidence that it is the canary's doing."""

    name: GuardName
    allowed: float
    """The canary's odds of it may be this many times the active version's."""
    canary_bad: int = 0
    canary_n: int = 0
    active_bad: int = 0
    active_n: int = 0
    log_e: tuple[float, ...] = (0.0,) * len(_BEYOND)
    """Log evidence for each alternative."""

    @property
    def e_value(self) -> float:
        """Evidence that the odds are worse than allowed; at `LIMIT` the canary ends."""
        logs = np.array(self.log_e)
        most = float(logs.max())
        return math.exp(min(700.0, most + math.log(float(np.exp(logs - most).mean()))))


def add(guard: Guard, canary: Outcomes, active: Outcomes) -> Guard:
    """The guard after one more block."""
    more = _log_ratios(canary, active, guard.allowed)
    return guard.model_copy(
        update={
            "canary_bad": guard.canary_bad + canary.bad,
            "canary_n": guard.canary_n + canary.n,
            "active_bad": guard.active_bad + active.bad,
            "active_n": guard.active_n + active.n,
            "log_e": tuple(float(log) for log in np.array(guard.log_e) + more),
        }
    )


def tripped(guards: Sequence[Guard]) -> Guard | None:
    """The guard with the most evidence, if that is enough to end the canary."""
    worst = max(guards, key=lambda guard: guard.e_value, default=None)
    return worst if worst is not None and worst.e_value >= LIMIT else None


def wait_bucket(seconds: float) -> int:
    """Which bucket of the histogram of first words: each is a quarter longer than the one before."""
    return max(0, math.ceil(math.log(max(seconds, _FIRST_S) / _FIRST_S) / math.log(_FACTOR)))


def slow_from(waits: Mapping[int, int]) -> int | None:
    """The bucket above which a first word is slow, from those heard so far; None: too few were heard.

    Of what was heard before a block, never of the block itself: else the canary could move its own bar.
    """
    total, heard = sum(waits.values()), 0
    if total < SLOW_AFTER:
        return None
    for bucket in sorted(waits):
        heard += waits[bucket]
        if heard >= (1 - SLOW_SHARE) * total:
            return bucket
    return None


@lru_cache(maxsize=4096)  # blocks are small and come again
def _log_ratios(canary: Outcomes, active: Outcomes, allowed: float) -> NDArray[np.float64]:
    """(alternatives,): log probability of the canary's part of the bad ones, against the allowed odds ratio.

    Larger odds make larger parts likelier, so no odds ratio below the allowed one has a mean above 1.
    """
    bad = canary.bad + active.bad
    parts = range(max(0, bad - active.n), min(bad, canary.n) + 1)
    ways = np.array([_log_ways(canary.n, part) + _log_ways(active.n, bad - part) for part in parts])
    log_odds = np.log(allowed * np.concatenate([[1.0], _BEYOND]))
    logs = ways + np.outer(log_odds, np.array(parts))
    most = logs.max(axis=1)
    totals = most + np.log(np.exp(logs - most[:, None]).sum(axis=1))
    said = canary.bad * log_odds - totals
    return np.asarray(said[1:] - said[0])


def _log_ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
