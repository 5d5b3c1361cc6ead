"""Win rates: ties are half a win, both-bad counts apart, few people widen the interval."""

from __future__ import annotations

import pytest

from store.statistics.intervals import wilson
from store.statistics.judged import JudgedDuel, Outcome, style_of
from store.statistics.position import left_share, left_share_by_annotator
from store.statistics.win_rate import pair_rates

TURNED: dict[Outcome, Outcome] = {"a": "b", "b": "a"}


def duels(a: int = 0, b: int = 0, tie: int = 0, both_bad: int = 0) -> list[JudgedDuel]:
    """v2 on side a against v1, each vote by another person."""
    counts: dict[Outcome, int] = {"a": a, "b": b, "tie": tie, "both_bad": both_bad}
    given = [choice for choice, count in counts.items() for _ in range(count)]
    return [JudgedDuel(2, 1, choice, f"person-{i}") for i, choice in enumerate(given)]


def test_wilson_of_eight_in_ten() -> None:
    # middle (0.8 + 1.92073 / 10) / 1.384146 = 0.716743; half 1.416010 * sqrt(0.016 + 0.00960365) = 0.226578
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=2e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_tie_is_half_a_win_and_both_bad_is_no_vote_between_them() -> None:
    (pair,) = pair_rates(duels(a=24, b=8, tie=8, both_bad=5))
    assert (pair.a, pair.b, pair.wins_a, pair.ties, pair.wins_b, pair.both_bad, pair.n) == (
        2,
        1,
        24,
        8,
        8,
        5,
        40,
    )
    assert pair.rate == (24 + 4) / 40
    # Wilson of 24 / 32 is 0.578936 to 0.867477; on the scale with ties (32 * x + 4) / 40.
    assert (pair.low, pair.high) == pytest.approx((0.563149, 0.793982), abs=2e-6)
    assert (pair.interval, pair.annotators) == ("wilson", 45)


def test_the_side_a_version_was_shown_on_changes_nothing() -> None:
    turned = [
        JudgedDuel(1, 2, TURNED.get(one.choice, one.choice), one.annotator) for one in duels(a=24, b=8, tie=8)
    ]
    assert pair_rates(turned) == pair_rates(duels(a=24, b=8, tie=8))


def test_two_people_who_disagree_leave_the_rate_open() -> None:
    said = [JudgedDuel(2, 1, "a", "ann")] * 10 + [JudgedDuel(2, 1, "b", "bob")] * 10
    (pair,) = pair_rates(said)
    assert (pair.rate, pair.low, pair.high, pair.interval) == (0.5, 0.0, 1.0, "annotators")


def test_one_person_alone_is_never_surer_than_wilson() -> None:
    (pair,) = pair_rates([JudgedDuel(2, 1, "a", "ann")] * 8 + [JudgedDuel(2, 1, "b", "ann")] * 2)
    assert (pair.low, pair.high) == pytest.approx((0.490162, 0.943318), abs=2e-6)
    assert pair.annotators == 1


def test_one_person_with_more_than_a_fifth_of_the_votes_is_drawn_as_one() -> None:
    crowd = duels(a=20, b=20)
    assert pair_rates(crowd)[0].interval == "wilson"
    loud = [JudgedDuel(2, 1, "a", "loud")] * 11
    assert pair_rates(crowd + loud)[0].interval == "annotators"


def test_nothing_but_ties_is_a_half_with_a_width() -> None:
    (pair,) = pair_rates(duels(tie=40))
    assert pair.rate == 0.5
    assert pair.low == pytest.approx(wilson(20, 40)[0])


def test_only_both_bad_has_no_rate() -> None:
    (pair,) = pair_rates(duels(both_bad=3))
    assert (pair.rate, pair.low, pair.high, pair.n, pair.both_bad) == (None, None, None, 0, 3)


def test_a_version_against_itself_is_no_pair() -> None:
    assert pair_rates([JudgedDuel(2, 2, "a", "ann")]) == []


def test_the_left_side_wins_more_often_than_chance_allows() -> None:
    said = duels(a=70, b=30, tie=10, both_bad=5)
    found = left_share(said)
    assert (found.share, found.n) == (0.7, 100)
    assert found.low is not None
    assert found.low > 0.5
    own = left_share_by_annotator([JudgedDuel(1, 1, "a", "ann"), JudgedDuel(1, 1, "tie", "bob")])
    assert (own["ann"].share, own["bob"].share, own["bob"].n) == (1.0, None, 0)


def test_style_is_counted_from_markdown() -> None:
    text = "# Title\n\n- one **bold** word\n2. two\n\n## Next\nplain - not a list"
    assert style_of(text) == (len(text.split()), 2, 2, 1)
    assert style_of("word", tokens=7).length == 7
