"""Drift: the e-value by hand, and how often the test is wrong when it is looked at after every vote."""

from __future__ import annotations

import numpy as np
import pytest

from store.statistics.drift import STEPS, drift_of


def test_the_e_value_is_the_mean_of_the_bets() -> None:
    """At least 0.5, one right and one wrong: each bet p is worth (p / 0.5) ((1 - p) / 0.5) = 4 p (1 - p).

    Over p from 0 to 0.5 its mean is 8 (1/8 - 1/24) = 2/3.
    """
    assert drift_of(1, 2, held_out_low=0.5, allowed=0.0).e_value == pytest.approx(2 / 3, abs=1 / STEPS**2)
    assert drift_of(0, 0, held_out_low=0.9, allowed=0.1).e_value == pytest.approx(1.0)
    # Two wrong: 4 (1 - p)^2, mean 8 (1 - 1/8) / 3 = 7/3.
    assert drift_of(0, 2, held_out_low=0.5, allowed=0.0).e_value == pytest.approx(7 / 3, abs=1e-3)


@pytest.mark.parametrize("low", [0.05, 0.1])
def test_a_promise_of_nothing_cannot_be_broken(low: float) -> None:
    assert drift_of(0, 1000, held_out_low=low, allowed=0.1).e_value == 1.0


def test_looked_at_after_every_vote_it_is_seldom_wrong_and_soon_right() -> None:
    """2,000 reward models that keep to 70 %, and as many that fell to 50 %: 300 votes each."""
    edge: list[int] = []  # the most that were right of 1, 2, ... votes when the test is sure; it never falls
    for n in range(1, 301):
        most_right = edge[-1] if edge else -1
        while drift_of(most_right + 1, n, held_out_low=0.7, allowed=0).found:
            most_right += 1
        edge.append(most_right)
    for rate, fewest, most in ((0.7, 0.0, 0.05), (0.5, 0.95, 1.0)):
        right = np.cumsum(np.random.default_rng(0).random((2000, 300)) < rate, axis=1)
        found = (right <= np.array(edge)).any(axis=1).mean()
        assert fewest <= found <= most, rate
