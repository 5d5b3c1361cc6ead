"""Ratings: by hand on the smallest boards, FastChat's on a larger one, honest where there can be none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from store.statistics.bradley_terry import SCALE, board
from store.statistics.judged import JudgedDuel, Outcome
from tests.unit.store.statistics.duels_of_reference import battles

# What FastChat's code says of battles(): made by fastchat_reference.py in this folder.
FASTCHAT = {1: 1000.0, 2: 1055.694641, 3: 1103.450707, 4: 1021.487862}
FASTCHAT_STYLE = {1: 1000.0, 2: 1052.324825, 3: 1096.261274, 4: 1009.792982}
FASTCHAT_STYLE_EFFECTS = [51.297217, 13.343151, 12.672447, -12.19496]
FASTCHAT_BOOTSTRAP = {2: (1020.4, 1092.8), 3: (1059.7, 1149.5), 4: (961.5, 1082.1)}


def duels(a: int, b: int, *choices: Outcome) -> list[JudgedDuel]:
    return [JudgedDuel(a, b, choice, "ann") for choice in choices]


def ratings(given: Sequence[JudgedDuel], **how: bool) -> dict[int, float | None]:
    return {one.number: one.rating for one in board(given, **how).ratings}


def test_three_wins_to_one_are_400_log_3() -> None:
    found = ratings(duels(2, 1, "a", "a", "a", "b"))
    assert found == {1: 1000.0, 2: pytest.approx(1000 + 400 * math.log10(3), abs=1e-3)}


def test_a_tie_is_half_a_win_and_both_bad_is_nothing() -> None:
    # 2 wins, 2 ties, 1 loss: 3 points of 5.
    given = duels(1, 2, "b", "b", "tie", "tie", "a", "both_bad", "both_bad")
    assert ratings(given)[2] == pytest.approx(1000 + 400 * math.log10(3 / 2), abs=1e-3)
    assert board(given).ratings[0].n == 5


def test_ratings_are_fastchats() -> None:
    assert ratings(battles()) == pytest.approx(FASTCHAT, abs=1e-3)


def test_ratings_under_style_control_are_fastchats() -> None:
    found = board(battles(), style=True, rounds=5)
    assert {one.number: one.rating for one in found.ratings} == pytest.approx(FASTCHAT_STYLE, abs=1e-2)
    assert [one.effect for one in found.style] == pytest.approx(FASTCHAT_STYLE_EFFECTS, abs=1e-2)


def test_intervals_are_about_fastchats() -> None:
    for one in board(battles(), rounds=4000).ratings:
        if one.number in FASTCHAT_BOOTSTRAP:
            assert (one.low, one.high) == pytest.approx(FASTCHAT_BOOTSTRAP[one.number], abs=4)


def test_ratings_are_those_of_a_slow_climb() -> None:
    """The same maximum by plain gradient ascent over the duels, one by one."""
    given = [one for one in battles() if one.points is not None]
    a, b = (np.array([getattr(one, f"version_{side}") for one in given]) for side in "ab")
    points = np.array([one.points for one in given])
    theta = np.zeros(5)
    for _ in range(20_000):
        error = points - 1 / (1 + np.exp(theta[b] - theta[a]))
        gradient = np.bincount(a, error, 5) - np.bincount(b, error, 5)
        theta += gradient / 150
        if np.abs(gradient).max() < 1e-7:
            break
    expected = {n: 1000 + SCALE * (theta[n] - theta[1]) for n in (1, 2, 3, 4)}
    assert ratings(battles()) == pytest.approx(expected, abs=1e-3)


def test_a_version_that_won_everything_has_no_rating_yet() -> None:
    found = board([*duels(2, 1, "a", "b", "a"), *duels(3, 1, "a", "a")]).ratings
    assert [(one.number, one.rating is None, one.n) for one in found] == [
        (2, False, 3),
        (1, False, 5),
        (3, True, 2),
    ]


def test_a_chain_of_wins_and_losses_rates_versions_that_never_met_the_first() -> None:
    found = ratings([*duels(2, 1, "a", "b"), *duels(3, 2, "a", "a", "b")])
    assert found[3] == pytest.approx(1000 + 400 * math.log10(2), abs=1e-3)


def test_more_votes_make_the_interval_narrower_and_ranks_that_overlap_are_ranges() -> None:
    few, many = (board(duels(2, 1, "a", "b", "a") * n).ratings[0] for n in (10, 300))
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert many.high - many.low < (few.high - few.low) / 3
    assert (many.best_rank, many.worst_rank) == (1, 1)
    even = board(duels(2, 1, "a", "b") * 10).ratings
    assert {(one.best_rank, one.worst_rank) for one in even} == {(1, 2)}


def test_a_quick_bootstrap_of_many_duels_is_the_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    quick: list[tuple[float | None, float | None]] = []
    slow: list[tuple[float | None, float | None]] = []
    for limit, into in ((0, quick), (10**9, slow)):
        monkeypatch.setattr("store.statistics.bradley_terry.MANY_ROWS", limit)
        found = board(battles(), style=True)
        into += [(one.low, one.high) for one in found.ratings]
        into += [(one.low, one.high) for one in found.style]
    assert len(quick) == 8
    for one, other in zip(quick, slow, strict=True):
        # Of 660 duels, whose intervals are 70 to 120 wide; it is used from 3000 rows on.
        assert one == pytest.approx(other, abs=4)


def test_an_empty_board_and_the_same_board_twice() -> None:
    assert board([]).ratings == ()
    assert board(battles()) == board(battles())
