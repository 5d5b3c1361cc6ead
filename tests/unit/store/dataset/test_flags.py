"""Flags: what a person who reads would hardly do is marked, and what they may well do is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from store.dataset.flags import (
    ONE_SIDE_P,
    SAME_KEY,
    binomial_tail,
    flags_with,
    judged_texts,
    reads_too_quickly,
)
from store.records import Answer, Sampling, Vote

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


def answer(text: str, written_s: float = 0.0) -> Answer:
    return Answer(
        id=f"ans_{text[:4]}",
        conversation_id="conv_1",
        parent_id="msg_1",
        stream_id="s",
        state="finished",
        text=text,
        policy_version=1,
        versions=(1,),
        sampling=Sampling(),
        created_at=NOON,
        ended_at=NOON + timedelta(seconds=written_s),
    )


def vote(name: str, choice: Any = "a", **more: Any) -> Vote:
    given = {"id": name, "kind": "duel", "conversation_id": f"conv_{name}", "annotator_id": "acc_ann"}
    return Vote.model_validate(
        {**given, "choice": choice, "idempotency_key": name, "created_at": NOON, "duel_id": name} | more
    )


def votes(choices: str) -> list[Vote]:
    """Newest first, one a letter: a, b, and t for a tie."""
    return [
        vote(f"v{place}", {"t": "tie"}.get(choice, choice))
        for place, choice in reversed(list(enumerate(choices)))
    ]


def found(newest_first: list[Vote]) -> dict[str, list[str]]:
    return {name: list(flags) for name, flags in flags_with(newest_first[0], newest_first[1:]).items()}


def test_the_same_texts_are_known_in_any_order_and_no_others() -> None:
    one, two = answer("The Nile."), answer("The Rhine.")
    assert judged_texts("Longest?", [one, two]) == judged_texts("Longest?", [two, one])
    others = {judged_texts("Longest?", [one, one]), judged_texts("Shortest?", [one, two])}
    assert judged_texts("Longest?", [one, two]) not in others
    assert judged_texts("A", [answer("BC"), answer("D")]) != judged_texts("A", [answer("B"), answer("CD")])


def test_of_votes_on_the_same_texts_the_newest_counts() -> None:
    again = [vote("third", texts="x"), vote("other", texts="y"), vote("second", "b", texts="x")]
    assert found([*again, vote("first", texts="x")]) == {"second": ["duplicate"], "first": ["duplicate"]}
    assert found([vote("third", texts="x"), vote("first", texts="x", status="undone")]) == {}
    assert found([vote("third", texts="x"), vote("first", texts="x", check="repeat")]) == {}
    assert found([vote("second", texts=None), vote("first", texts=None)]) == {}
    assert found([vote("second", texts="x"), vote("first", texts="x", flags=("duplicate",))]) == {}


@pytest.mark.parametrize(
    ("shown_ms", "written_s", "chars", "quick"),
    [
        (1500, 0.0, 400, True),  # 800 characters at 250 a second take 3.2 s
        (3300, 0.0, 400, False),
        (1500, 2.0, 400, False),  # they were written for two seconds before everybody's eyes
        (3900, 0.0, 5000, True),  # of each answer 500 characters count: 4 s
        (4100, 0.0, 5000, False),
        (0, 0.0, 99, False),  # taken in at a glance
    ],
)
def test_a_duel_is_voted_on_too_quickly(shown_ms: int, written_s: float, chars: int, quick: bool) -> None:
    answers = [answer("x" * chars, written_s), answer("y" * chars)]
    assert reads_too_quickly(vote("v", shown_ms=shown_ms), answers, 250) is quick


@pytest.mark.parametrize(
    "more",
    [{"shown_ms": None}, {"early": True}, {"blind": False}, {"choice": "skip"}, {"check": "gold"}],
)
def test_who_says_nothing_of_time_or_had_more_of_it_is_not_too_quick(more: dict[str, Any]) -> None:
    answers = [answer("x" * 400), answer("y" * 400)]
    assert reads_too_quickly(vote("v", shown_ms=100), answers, 250)
    assert not reads_too_quickly(vote("v", **{"shown_ms": 100} | more), answers, 250)
    assert not reads_too_quickly(vote("v", shown_ms=100), answers, 0)


def test_a_run_of_the_same_side_is_flagged_when_it_is_long_enough() -> None:
    assert found(votes("b" + "a" * (SAME_KEY - 1))) == {}
    flagged = found(votes("b" + "a" * SAME_KEY))
    assert flagged == {f"v{place}": ["same_key"] for place in range(1, SAME_KEY + 1)}
    assert len(found(votes("a" * 8 + "t" + "a" * 8))) == 16, "a tie between them is no other side"
    assert found(votes("b" * SAME_KEY + "a")) == {}, "the run was before this vote"
    assert found([vote("v", "tie"), *votes("a" * SAME_KEY)]) == {}, "a tie ends no run and makes none"


def test_a_lean_to_one_side_flags_the_votes_for_it() -> None:
    """2 P(41 or more of 50) is 9e-6, of 40 or more 2.4e-5."""
    assert 2 * binomial_tail(41, 50) < ONE_SIDE_P < 2 * binomial_tail(40, 50)
    mixed = "aaaab" * 10  # 40 of 50
    assert found(votes(mixed)) == {}
    leaning = mixed.replace("b", "a", 1)
    flagged = found(votes(leaning))
    assert flagged == {f"v{place}": ["one_side"] for place, side in enumerate(leaning) if side == "a"}
    assert len(found(votes("b" * 9 + leaning))) == 41, "only the newest fifty are looked at"


def test_honest_annotators_are_hardly_ever_flagged() -> None:
    """By chance alone, sides drawn by a coin: 200 people, 300 votes each."""
    import numpy as np

    random = np.random.default_rng(0)
    flagged = 0
    for _ in range(200):
        sides = random.random(300) < 0.5
        starts = np.flatnonzero(np.diff(sides.astype(int))) + 1
        runs = np.diff(np.concatenate([[0], starts, [300]]))
        windows = np.convolve(sides, np.ones(50), "valid")
        flagged += bool(runs.max() >= SAME_KEY or windows.max() >= 41 or windows.min() <= 9)
    assert flagged <= 4
