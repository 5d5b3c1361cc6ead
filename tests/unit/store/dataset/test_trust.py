"""Trust: the weights by hand, who keeps theirs, and the checks that they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from store.dataset.checks import with_the_others
from store.dataset.trust import Checked, Source, by_sureness, not_against, weight, weights
from store.records import Verdict
from store.statistics.intervals import wilson

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


def everybody(source: Source, *own: int, others: tuple[int, int]) -> dict[str, dict[Source, Checked]]:
    return {"eve": {source: Checked(*own)}, "rest": {source: Checked(*others)}}


def test_the_weight_is_what_is_left_of_the_others_information() -> None:
    """50 of 100 known verdicts where the others have 90 %: the upper end is 0.596, (2 p - 1) / 0.8 = 0.24."""
    _, high = wilson(50, 100)
    assert high == pytest.approx(0.596, abs=5e-4)
    checks = everybody("gold", 50, 100, others=(900, 1000))
    assert weight("eve", checks) == pytest.approx((2 * high - 1) / 0.8)
    assert weight("rest", checks) == 1.0
    assert weights(checks) == {"eve": weight("eve", checks), "rest": 1.0}


def test_who_is_wrong_more_often_than_a_coin_weighs_nothing() -> None:
    assert weight("eve", everybody("gold", 3, 40, others=(90, 100))) == 0.0
    assert weight("eve", everybody("others", 3, 40, others=(80, 100))) == 0.0
    assert weight("eve", everybody("reward_model", 5, 50, others=(65, 100))) == 0.0


@pytest.mark.parametrize(
    ("source", "own", "others"),
    [
        ("gold", (3, 4), (90, 100)),  # bad luck in a few checks
        ("gold", (0, 40), (9, 10)),  # nobody knows what can be expected
        ("gold", (0, 40), (50, 100)),  # the verdicts are as good as a coin
        ("reward_model", (5, 50), (52, 100)),  # a reward model that may know nothing
        ("reward_model", (5, 50), (10, 100)),  # one that is wrong about everybody
    ],
)
def test_who_may_be_right_keeps_their_weight(source: Source, own: Any, others: Any) -> None:
    assert weight("eve", everybody(source, *own, others=others)) == 1.0


def test_against_predictions_a_vote_weighs_what_it_is_probable_to_be_no_lie() -> None:
    """One vote, predicted wrongly by a model that is right on 99 % of the others' votes: by hand.

    Of votes with reliability r such a model is wrong on 0.5 - 0.49 r: 0.01 for r = 1, 0.255 in the mean of
    r from 0 to 1, 0.745 from -1 to 0. With 0.5, 0.3 and 0.2 beforehand: 0.0815 against 0.149.
    """
    found = not_against(Checked(0, 1), Checked(990, 1000))
    assert found == pytest.approx(0.0815 / (0.0815 + 0.149), abs=1e-4)
    assert not_against(Checked(1, 1), Checked(990, 1000)) > 0.9
    checks = everybody("reward_model", 0, 1, others=(990, 1000))
    assert weight("eve", checks) == pytest.approx(found)
    # Known verdicts that are as right as the others' change nothing of it, wrong ones do.
    both = {"eve": {**checks["eve"], "gold": Checked(50, 100)}, "rest": {**checks["rest"]}}
    both["rest"]["gold"] = Checked(900, 1000)
    gold = everybody("gold", 50, 100, others=(900, 1000))
    assert weight("eve", both) == pytest.approx(found * weight("eve", gold))


@pytest.mark.parametrize(
    ("own", "least", "most"),
    [
        ((0, 0), 1.0, 1.0),  # nothing is known
        ((65, 100), 0.97, 1.0),  # like the others
        ((500, 1000), 0.5, 0.7),  # another taste: at the edge between r = 0 from above and from below
        ((55, 100), 0.8, 1.0),  # one that has a little to do with theirs
        ((3, 4), 0.8, 1.0),
        ((1, 4), 0.6, 0.8),  # four votes say little
        ((35, 100), 0.0, 0.01),  # the opposite one
        ((0.0, 1e5), 0.0, 1e-9),  # no number is too small to count with
        ((1e5, 1e5), 1.0, 1.0),
    ],
)
def test_who_has_another_taste_keeps_most_of_their_weight_and_who_votes_against_loses_it(
    own: tuple[float, float], least: float, most: float
) -> None:
    assert least <= not_against(Checked(*own), Checked(650, 1000)) <= most


def test_a_prediction_counts_by_how_sure_it_is() -> None:
    # 3 of 6 in all are right; as much as (3 + 1 + 1 + 1)^2 / (9 + 1 + 1 + 1) = 3 equally sure ones tell.
    assert by_sureness([3.0, -1.0, -1.0, -1.0]) == Checked(1.5, 3.0)
    assert by_sureness([0.2] * 7 + [-0.2] * 3) == pytest.approx(Checked(7.0, 10.0))
    assert by_sureness([]) == by_sureness([0.0]) == Checked(0, 0)


def test_nobody_is_judged_by_themselves() -> None:
    checks: dict[str, dict[Source, Checked]] = {"eve": {"gold": Checked(0, 500)}, "bob": {}}
    assert weights(checks) == {"eve": 1.0, "bob": 1.0}


def verdict(item: str, choice: Any, check: Any = None) -> Verdict:
    return Verdict(item_id=item, vote_id="v", choice=choice, swapped=False, check=check, at=NOON)


def test_each_is_compared_with_most_of_the_others() -> None:
    said = {
        "ann": [verdict("1", "a"), verdict("2", "a"), verdict("3", "tie")],
        "bob": [verdict("1", "a"), verdict("2", "b")],
        "eve": [verdict("1", "b"), verdict("2", "b", check="repeat"), verdict("4", "a")],
    }
    # Item 1: ann's others are split, bob's too, eve's both said a. Item 2: ann and bob against each other.
    assert with_the_others(said) == {"eve": [False], "ann": [False], "bob": [False]}
