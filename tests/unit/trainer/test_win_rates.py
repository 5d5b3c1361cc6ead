"""Win rates: counted by hand, with intervals that are honest about few prompts."""

from __future__ import annotations

import math

import pytest

from store.statistics.intervals import wilson
from trainer.intervals import bootstrap_mean
from trainer.win_rates import domains, points_interval, win_rate


def test_a_tie_is_half_a_win_and_an_unreadable_verdict_is_nothing() -> None:
    result = win_rate(["win", "win", "tie", "loss", None])

    assert (result.wins, result.ties, result.losses, result.unreadable, result.n) == (2, 1, 1, 1, 4)
    assert result.rate == pytest.approx((2 + 0.5) / 4)
    assert [result.share(outcome) for outcome in ("win", "tie", "loss")] == [0.5, 0.25, 0.25]


def test_without_a_readable_verdict_there_is_no_rate() -> None:
    result = win_rate([None, None])

    assert (result.rate, result.low, result.high, result.unreadable) == (None, None, None, 2)
    assert result.share("win") is None


def test_the_bootstrap_of_two_values_reaches_both() -> None:
    # Means 0, 1/2, 1 come with chances 1/4, 1/2, 1/4: both ends lie outside of the middle 95 %.
    assert bootstrap_mean([0.0, 1.0]) == (0.0, 1.0)


def test_the_bootstrap_of_many_values_is_the_normal_interval() -> None:
    low, high = bootstrap_mean([1.0] * 240 + [0.0] * 160)

    half = 1.96 * math.sqrt(0.6 * 0.4 / 400)
    assert (low, high) == pytest.approx((0.6 - half, 0.6 + half), abs=0.01)


def test_the_seed_fixes_the_interval() -> None:
    values = [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 0.25]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean([*values, 0.1], seed=1)


def test_three_wins_of_three_are_not_certainty() -> None:
    assert bootstrap_mean([1.0, 1.0, 1.0]) == (1.0, 1.0)
    # Wilson, 3 of 3: 1 / (1 + 3.8416 / 3) = 0.4385
    assert points_interval([1.0, 1.0, 1.0]) == pytest.approx((0.4385, 1.0), abs=1e-3)
    assert points_interval([0.5, 0.5]) == wilson(1.0, 2)


def test_a_prompt_counts_in_each_of_its_domains() -> None:
    tags = [("helpful", "en"), ("harmless",), (), ("helpful", "helpful")]

    assert domains(tags) == {
        "all": [0, 1, 2, 3], "en": [0], "harmless": [1], "helpful": [0, 3], "untagged": [2],
    }  # fmt: skip
    assert next(iter(domains(tags))) == "all"
    assert domains([(), ()]) == {"all": [0, 1]}
