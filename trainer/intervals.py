"""How sure a mean is that was measured on a few cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean (Efron 1979): the values are the units drawn again."""
    given = np.asarray(values, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(len(given), size=(RESAMPLES, len(given)))
    low, high = np.quantile(given[chosen].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)
