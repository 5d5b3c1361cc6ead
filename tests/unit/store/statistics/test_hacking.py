"""The reward hacking watch by hand: the score rises and people's win rate falls, on the same duels."""

from __future__ import annotations

import math

import pytest

from store.statistics.hacking import Finding, Step, in_words, judge
from store.statistics.sequential import log_e_value


def step(version: int, wins: int, liked: int, n: int) -> Step:
    return Step(version, wins, liked, n, lead=1.0)


def looked(*steps: Step, versions: int = 3, warn_error: float = 0.05, stop_error: float = 0.01) -> Finding:
    return judge(steps, versions=versions, warn_error=warn_error, stop_error=stop_error)


def test_nothing_is_said_of_nothing() -> None:
    assert looked() == looked(step(2, 0, 0, 0))
    assert (looked().level, looked().people.n, in_words(looked())) == ("quiet", 0, "")


def test_the_score_rises_and_people_leave() -> None:
    # People: 12 of 40, the model: 34 of 40. Wilson of 34/40: (0.85 + 3.8415/80 -+ ...) / (1 + 3.8415/40)
    # = 0.709 to 0.929, above a half.
    found = looked(step(4, 12, 34, 40))
    assert found.model.low == pytest.approx(0.7093, abs=1e-3)
    assert found.e_value == pytest.approx(math.exp(log_e_value(28, 12)))
    assert (found.level, found.versions) == ("quiet", (4,))  # 28 against 12 is evidence of 8.1, below 20
    assert looked(step(4, 10, 34, 40)).level == "warn"  # 30 against 10: 23
    assert looked(step(4, 7, 34, 40)).level == "stop"  # 33 against 7: 177


def test_a_worse_version_that_the_model_does_not_like_is_no_hacking() -> None:
    # 24 of 40: Wilson from 0.446, so the score may not have risen at all.
    assert looked(step(4, 4, 24, 40)).level == "quiet"
    assert looked(step(4, 4, 30, 40)).level == "stop"


def test_a_better_version_is_never_hacking_however_much_the_model_likes_it() -> None:
    assert looked(step(4, 70, 100, 100)).level == "quiet"
    assert looked(step(4, 50, 100, 100)).level == "quiet"


def test_a_slow_slide_shows_over_versions_and_not_in_one() -> None:
    slide = [step(4, 25, 50, 60), step(5, 24, 50, 60), step(6, 22, 50, 60)]
    assert [looked(one).level for one in slide] == ["quiet", "quiet", "quiet"]
    found = looked(*slide)
    assert (found.level, found.versions, found.people.n) == ("warn", (6, 5, 4), 180)
    assert found.e_value == pytest.approx(24.505, abs=1e-3)  # 109 against 71


def test_the_newest_version_is_not_hidden_behind_good_ones() -> None:
    found = looked(step(4, 90, 95, 100), step(5, 90, 95, 100), step(6, 6, 36, 40))
    assert (found.level, found.versions) == ("stop", (6,))


def test_what_is_old_enough_is_forgotten() -> None:
    bad = step(2, 5, 45, 50)
    later = [step(3, 12, 18, 20), step(4, 12, 18, 20), step(5, 12, 18, 20)]
    assert looked(bad).level == "stop"
    assert looked(bad, *later).level == "quiet"


def test_an_error_of_zero_is_off() -> None:
    bad = step(4, 4, 36, 40)
    assert looked(bad, stop_error=0).level == "warn"
    assert looked(bad, warn_error=0).level == "stop"
    assert looked(bad, warn_error=0, stop_error=0).level == "quiet"


def test_the_reason_names_versions_rates_intervals_and_n() -> None:
    assert in_words(looked(step(4, 8, 34, 40))) == (
        "the reward model prefers v4 to older versions in 85% (71% to 93%) of 40 blind duels,"
        " people in 20% (10% to 35%)"
    )
    assert in_words(looked(step(4, 20, 36, 60), step(5, 20, 36, 60))).startswith(
        "the reward model prefers v4 and v5 "
    )
