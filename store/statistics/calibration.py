"""Calibration: whether a reward model that is sure to 80 % is right in 80 % of the duels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from store.records import Record
from store.statistics.intervals import Share, share_of

BINS = 10


class Bin(Record):
    """The duels whose predicted share was between two tenths."""

    predicted: float
    """Mean of what the model said."""
    observed: Share
    """What people said."""


class Calibration(Record):
    accuracy: Share
    """Of the decisive votes, those where the higher score won; equal scores are wrong."""
    bins: tuple[Bin, ...]
    ece: float | None
    """Expected calibration error: the mean gap between predicted and observed, over the duels."""
    length_slope: float | None
    """Correlation of margin and length difference: how far the scores follow length."""


def calibration(
    margins: Sequence[float], a_won: Sequence[bool], length_differences: Sequence[float] | None = None
) -> Calibration:
    """From score margins a - b and who won; the model's probability for a is sigmoid(margin)."""
    given, won = np.asarray(margins, dtype=np.float64), np.asarray(a_won, dtype=bool)
    n = len(given)
    if n == 0:
        return Calibration(accuracy=share_of(0, 0), bins=(), ece=None, length_slope=None)
    predicted = 1 / (1 + np.exp(-given))
    places = np.minimum((predicted * BINS).astype(int), BINS - 1)
    bins, gap = [], 0.0
    for place in range(BINS):
        inside = places == place
        if not inside.any():
            continue
        mean, hits, size = float(predicted[inside].mean()), int(won[inside].sum()), int(inside.sum())
        bins.append(Bin(predicted=mean, observed=share_of(hits, size)))
        gap += abs(mean - hits / size) * size / n
    right = int((np.where(won, given, -given) > 0).sum())
    return Calibration(
        accuracy=share_of(right, n),
        bins=tuple(bins),
        ece=gap,
        length_slope=_correlation(given, np.asarray(length_differences)) if length_differences else None,
    )


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
