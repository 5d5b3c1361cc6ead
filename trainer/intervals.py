"""Intervals: how sure a share or a mean is that was measured on a few cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def wilson(wins: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of the share wins / n, by default at 95 % (Wilson 1927)."""
    share = wins / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979): the values are the units drawn again."""
    given = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(len(given), size=(RESAMPLES, len(given)))
    low, high = np.quantile(given[chosen].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
