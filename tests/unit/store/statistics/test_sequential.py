"""The canary's test may be looked at after every vote and is still wrong in at most one canary of twenty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.canary import enough_wins, outcomes, trial
from store.statistics.sequential import MAX_VOTES, canary_verdict, log_e_value


@pytest.fixture(scope="module")
def bar() -> NDArray[np.int64]:
    return enough_wins()


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


def test_the_bar_is_where_the_verdict_turns(bar: NDArray[np.int64]) -> None:
    for n in (20, 50, 333):
        wins = int(bar[n - 1])
        assert canary_verdict(wins, n - wins).state == "better"
        assert canary_verdict(wins - 1, n - wins + 1).state == "undecided"
    assert (np.diff(bar) >= 0).all()


@pytest.mark.parametrize("rate", [0.4, 0.45, 0.5])
def test_a_canary_that_is_no_better_is_promoted_in_at_most_one_of_twenty(
    rate: float, bar: NDArray[np.int64]
) -> None:
    found = outcomes(rate, bar, seed=1)
    assert found.promoted <= 0.05
    if rate == 0.4:
        assert found.rolled_back > 0.95
    if rate == 0.5:
        assert 0.005 < found.rolled_back <= 0.05  # the bet is made: a test that never ends would be 0


def test_a_canary_that_wins_sixty_percent_is_found(bar: NDArray[np.int64]) -> None:
    found = outcomes(0.6, bar, seed=2)
    assert found.promoted > 0.95
    assert found.rolled_back <= 0.05
    assert found.median_votes < 250


def test_looking_only_once_at_an_ordinary_test_would_not_survive_this() -> None:
    """The same canaries under a z-test at 5 % that is looked at after every vote: why e-values are used."""
    random = np.random.default_rng(1)
    wins = np.cumsum(random.random((1000, MAX_VOTES)) < 0.5, axis=1)
    n = np.arange(1, MAX_VOTES + 1)
    z = (wins - n / 2) / np.sqrt(n / 4)
    assert (z[:, 20:] > 1.645).any(axis=1).mean() > 0.3


def test_a_ramp_changes_how_soon_and_not_how_often_wrong() -> None:
    # 40 canaries that win 40 %: each is rolled back, whatever their share was when. A ramp needs about as
    # many votes, from more conversations: 20 votes at 5 % are 400 of them.
    at_once = [trial(seed, rate=0.4, ramp=(0.5,)) for seed in range(40)]
    on_ramp = [trial(seed, rate=0.4, ramp=(0.05, 0.25, 0.5, 1.0)) for seed in range(40)]
    assert [sum(end.verdict == "worse" for end in ends) for ends in (at_once, on_ramp)] == [40, 40]
    votes = [np.median([end.votes for end in ends]) for ends in (at_once, on_ramp)]
    talks = [np.median([end.conversations for end in ends]) for ends in (at_once, on_ramp)]
    assert votes[1] == pytest.approx(votes[0], rel=0.4)
    assert talks[1] > talks[0] + 150


def test_a_broken_canary_never_waits_for_votes() -> None:
    ends = [trial(seed, rate=0.7, odds={"failed": 500.0}, ramp=(0.05, 1.0)) for seed in range(10)]
    assert {end.verdict for end in ends} == {"guard"}
    assert max(end.votes for end in ends) < 20
