"""The canary's test may be looked at after every vote and is still wrong in at most one canary of twenty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from store.statistics.sequential import MAX_VOTES, canary_verdict, log_e_value, log_e_values

CANARIES = 1000


def outcomes(rate: float, seed: int, votes: int = MAX_VOTES) -> tuple[float, float, float]:
    """Shares promoted and rolled back, and the median votes to promotion, when each vote is looked at."""
    random = np.random.default_rng(seed)
    wins = np.zeros(CANARIES)
    ended = np.zeros(CANARIES, dtype=np.int64)
    promoted = np.zeros(CANARIES, dtype=bool)
    enough = math.log(20)
    for n in range(1, votes + 1):
        wins += random.random(CANARIES) < rate
        live = ended == 0
        better = live & (log_e_values(wins, n - wins) >= enough)
        worse = live & (log_e_values(n - wins, wins) >= enough)
        promoted |= better
        ended[better | worse] = n
    found = ended[promoted]
    rolled_back = ((ended > 0) & ~promoted).mean()
    return float(promoted.mean()), float(rolled_back), float(np.median(found)) if len(found) else math.nan


def test_evidence_is_the_mixture_worked_out_by_hand() -> None:
    assert log_e_value(0, 0) == pytest.approx(0.0)
    # 3 wins, 0 losses: the mean of (2 p)^3 over the prior p^15 (1-p)^15 on 0.505, 0.510, ..., 0.995.
    rates = [0.5 + k / 200 for k in range(1, 100)]
    weights = [(p * (1 - p)) ** 15 for p in rates]
    by_hand = sum(w * (2 * p) ** 3 for w, p in zip(weights, rates, strict=True)) / sum(weights)
    assert math.exp(log_e_value(3, 0)) == pytest.approx(by_hand)


def test_states() -> None:
    assert canary_verdict(0, 0).state == "undecided"
    assert canary_verdict(60, 20).state == "better"
    assert canary_verdict(20, 60).state == "worse"
    assert canary_verdict(500, 500).state == "stopped"
    assert canary_verdict(60, 20).needs is None


def test_it_needs_as_many_votes_as_bring_it_to_an_end() -> None:
    verdict = canary_verdict(30, 20)
    assert verdict.state == "undecided"
    assert verdict.needs is not None
    more = verdict.needs
    assert log_e_value(30 + 0.6 * more, 20 + 0.4 * more) >= math.log(20)
    assert log_e_value(30 + 0.6 * (more - 1), 20 + 0.4 * (more - 1)) < math.log(20)


def test_an_even_canary_needs_all_that_is_left() -> None:
    assert canary_verdict(25, 25).needs == MAX_VOTES - 50


@pytest.mark.parametrize("rate", [0.4, 0.5])
def test_a_canary_that_is_no_better_is_promoted_in_at_most_one_of_twenty(rate: float) -> None:
    promoted, rolled_back, _ = outcomes(rate, seed=1)
    assert promoted <= 0.05
    if rate == 0.4:
        assert rolled_back > 0.95
    else:
        assert rolled_back <= 0.05


def test_a_canary_that_wins_sixty_percent_is_found() -> None:
    promoted, rolled_back, median = outcomes(0.6, seed=2)
    assert promoted > 0.95
    assert rolled_back <= 0.05
    assert median < 250


def test_looking_only_once_at_an_ordinary_test_would_not_survive_this() -> None:
    """The same canaries under a z-test at 5 % that is looked at after every vote: why e-values are used."""
    random = np.random.default_rng(1)
    wins = np.cumsum(random.random((CANARIES, MAX_VOTES)) < 0.5, axis=1)
    n = np.arange(1, MAX_VOTES + 1)
    z = (wins - n / 2) / np.sqrt(n / 4)
    assert (z[:, 20:] > 1.645).any(axis=1).mean() > 0.3
