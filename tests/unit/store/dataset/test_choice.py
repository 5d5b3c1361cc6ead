"""The choice: caps by hand, which votes stay under one, and why the rest is left out."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from store.dataset.choice import cap_of, choose, under_cap
from store.dataset.rules import VoteRules
from store.records import Exclusion, Vote

NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
RULES = VoteRules()


def vote(name: str, annotator: str = "ann", chat: str = "", choice: Any = "a", **more: Any) -> Vote:
    return Vote(
        id=name,
        kind="thumb" if choice in ("up", "down") else "duel",
        conversation_id=chat or f"conv_{name}",
        annotator_id=annotator,
        choice=choice,
        idempotency_key=name,
        created_at=NOON,
        **more,
    )


@pytest.mark.parametrize(
    ("counts", "cap"),
    [
        ([100] + [10] * 90, 52),  # one heavy among many light ones: 1000 / (1 + 90 / 5) = 52.6
        ([100] * 10, 100),  # ten alike: an even share
        ([400] * 5, 400),  # a team
        ([900], 900),  # nobody else
        ([900] + [1] * 10, 758),  # an owner and ten visitors: 910 / 1.2
        ([10_000] + [400] * 5, 333),  # a flood: 2000 pairs at most, among six
        ([100] * 400, 50),  # 2 % of 2000 is 40, an even share is 5, fifty are always allowed
        ([30, 20], 50),
        ([], 50),
    ],
)
def test_what_one_annotator_may_have(counts: list[int], cap: int) -> None:
    assert cap_of(counts, max_pairs=2000, rules=RULES) == cap


def test_a_share_of_many_pairs_is_more_than_an_even_one() -> None:
    assert cap_of([500] + [60] * 400, max_pairs=30_000, rules=RULES) == 490


def test_under_a_cap_new_chats_come_before_second_turns() -> None:
    newest_first = [
        vote("x2", chat="x"),
        vote("x1", chat="x"),
        vote("x0", chat="x"),
        vote("y1", chat="y"),
        vote("z", chat="z"),
        vote("y0", chat="y"),
        vote("other", annotator="bob", chat="x"),
    ]
    assert under_cap(newest_first, 2) == {"x2", "y1", "other"}
    assert under_cap(newest_first, 4) == {"x2", "y1", "z", "x1", "other"}
    assert under_cap(newest_first, 9) == {one.id for one in newest_first}


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    by_heed = Exclusion(by="heed", reason="why", at=NOON)
    by_person = Exclusion(by="acc_1", reason="spam", at=NOON)
    casts = [
        vote("good"),
        vote("undone", status="undone"),
        vote("spam", status="excluded", exclusion=by_person),
        vote("again", status="excluded", exclusion=by_heed, flags=("duplicate",)),
        vote("quick", status="excluded", exclusion=by_heed, flags=("too_quick", "same_key")),
        vote("back", flags=("one_side",)),  # a reviewer restored it
        vote("gold", check="gold"),
        vote("skip", choice="skip"),
        vote("tie", choice="tie"),
        vote("liar", annotator="eve"),
        vote("up", choice="up", answer_id="ans_1"),
        vote("down", choice="down", answer_id="ans_1"),
    ]
    chosen = choose(
        [(f"{place}-0", one) for place, one in enumerate(casts)],
        trust={"eve": 0.0},
        rules=RULES,
        max_pairs=100,
    )
    assert [one.id for _, one in chosen.chosen] == ["down", "tie", "back", "good"]
    assert chosen.left_out == {
        "undone": 1,
        "excluded": 1,
        "duplicate": 1,
        "too quick": 1,
        "measures the annotator": 1,
        "skipped by the annotator": 1,
        "contradicts everybody": 1,
    }
    parts = {one.annotator_id: (one.votes, one.weight) for one in chosen.annotators}
    assert parts == {"ann": (2, 1.0), "eve": (1, 0.0)}


def test_a_cap_holds_for_pairs_and_for_ties_each() -> None:
    casts = [
        (f"{place}-0", vote(f"v{place}", annotator="ann" if place % 3 else f"p{place}", choice=choice))
        for place, choice in enumerate(["a", "tie"] * 600)
    ]
    rules = VoteRules(annotator_share=0.1, annotator_pairs=5)
    chosen = choose(casts, trust={}, rules=rules, max_pairs=1000)
    # 600 pairs, 200 of people with one each: an even share is 600 / (1 + 200 / 5) = 14, a tenth is 60.
    assert chosen.cap == 60
    kept = Counter((one.annotator_id, one.makes_pair) for _, one in chosen.chosen)
    assert (kept["ann", True], kept["ann", False]) == (60, 60)
    assert chosen.left_out == {"over the annotator's cap": 2 * 340}
    assert chosen.annotators[0].over_cap == 340
