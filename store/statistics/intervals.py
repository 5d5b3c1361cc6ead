"""Intervals at 95 %: how sure a share is that was measured on a few votes of a few people."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from store.records import Record

Z = 1.959963984540054
RESAMPLES = 2000
FEW_ANNOTATORS = 30
DOMINANT = 0.2

Counts = NDArray[np.float64]


class Share(Record):
    """A share of `n` cases with its 95 % interval; None of no case."""

    share: float | None
    low: float | None
    high: float | None
    n: int


def wilson(hits: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson score interval of hits / n (Wilson 1927); from 0 to 1 when there is no case."""
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_of(hits: int, n: int) -> Share:
    """hits / n with Wilson's interval."""
    if n == 0:
        return Share(share=None, low=None, high=None, n=0)
    low, high = wilson(hits, n)
    return Share(share=hits / n, low=low, high=high, n=n)


def few_people_speak(votes: Counts) -> bool:
    """Whether votes cannot be taken as independent. votes: (A,), how many each annotator gave.

    Fewer than 30 annotators, or one who gave more than a fifth.
    """
    return len(votes) < FEW_ANNOTATORS or float(votes.max()) > DOMINANT * float(votes.sum())


def clustered(hits: Counts, cases: Counts, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap of sum(hits) / sum(cases) that draws annotators, not votes (Cameron et al. 2008).

    hits, cases: (A,), one entry an annotator.
    """
    people = len(cases)
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=RESAMPLES)
    n = drawn @ cases
    shares = (drawn @ hits)[n > 0] / n[n > 0]
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)
