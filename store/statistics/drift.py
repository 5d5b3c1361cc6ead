"""Drift: has the live reward model become worse on new votes than it was on held-out ones?

A test that may be looked at after every vote, like the canary's: an e-value against "it is still right on at
least this share". Under that hypothesis it reaches 1 / alpha with a probability of at most alpha, however
often somebody looks (Ville's inequality; Ramdas et al. 2023, arXiv 2210.01948).
"""

from __future__ import annotations

import math

import numpy as np

from store.records import Record

ALPHA = 0.05
STEPS = 100


class Drift(Record):
    """What new votes say of the live reward model."""

    right: int
    n: int
    """New votes for a or b that it has scored, and those of them that it would have given too."""
    at_least: float
    """The share of them that it may not be below."""
    e_value: float
    """Evidence that it is; enough at 1 / alpha, which is 20."""

    @property
    def found(self) -> bool:
        return self.e_value >= 1 / ALPHA


def drift_of(right: int, n: int, *, held_out_low: float, allowed: float) -> Drift:
    """The drift on `n` new votes of which it was right on `right`.

    held_out_low: lower end of the 95 % interval of its accuracy on held-out pairs, so that a few lucky pairs
    promise nothing. allowed: how far below that it may be; both shares.
    """
    at_least = max(0.0, held_out_low - allowed)
    return Drift(right=right, n=n, at_least=at_least, e_value=math.exp(_log_e(right, n - right, at_least)))


def _log_e(right: int, wrong: int, at_least: float) -> float:
    """log of the evidence that the true share is below `at_least`: an even mixture of bets on less.

    Each bet on a share p multiplies by p / at_least when it was right, by (1 - p) / (1 - at_least) when not:
    a fair game at `at_least`, a losing one above it. At most 700, which `exp` still takes.
    """
    if not 0 < at_least < 1:
        return 0.0
    rates = at_least * (np.arange(STEPS) + 0.5) / STEPS
    logs = right * np.log(rates / at_least) + wrong * np.log((1 - rates) / (1 - at_least))
    most = float(logs.max())
    return min(700.0, most + math.log(float(np.exp(logs - most).mean())))
