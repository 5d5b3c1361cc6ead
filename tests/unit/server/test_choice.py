"""Sticky versions: who is in a canary, who stays in it, and what they get."""

from __future__ import annotations

import pytest

from server.choice import in_canary, versions_of_turn
from store.records import Canary, now

CONVERSATIONS = [f"conv_{number}" for number in range(4000)]


def canary(share: float, number: int = 7) -> Canary:
    return Canary(number=number, share=share, started_at=now(), actor="test", reason="better?")


def members(share: float, number: int = 7) -> set[str]:
    return {one for one in CONVERSATIONS if in_canary(one, canary(share, number))}


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_its_share_of_the_conversations_is_in(share: float) -> None:
    assert len(members(share)) / len(CONVERSATIONS) == pytest.approx(share, abs=0.03)


def test_a_larger_share_keeps_everybody_who_was_in() -> None:
    assert members(0.05) < members(0.25) < members(0.5)


def test_each_canary_draws_anew() -> None:
    both = members(0.5, 7) & members(0.5, 8)
    assert len(both) / len(CONVERSATIONS) == pytest.approx(0.25, abs=0.03)


def test_in_its_conversations_an_answer_is_the_candidates_and_a_duel_one_of_each() -> None:
    one = canary(1.0)
    assert versions_of_turn("conv_1", one, 7, is_duel=False) == (7,)
    assert versions_of_turn("conv_1", one, 7, is_duel=True) == (7, None)


@pytest.mark.parametrize(("running", "ready"), [(None, None), (canary(0.0), 7), (canary(1.0), None)])
def test_else_everything_is_the_active_versions(running: Canary | None, ready: int | None) -> None:
    """No canary, a conversation outside, a candidate that no engine holds (any more)."""
    assert versions_of_turn("conv_1", running, ready, is_duel=False) == (None,)
    assert versions_of_turn("conv_1", running, ready, is_duel=True) == (None, None)
