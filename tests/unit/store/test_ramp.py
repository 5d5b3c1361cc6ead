"""A ramp: each share holds for its votes, the last one for good."""

from __future__ import annotations

from store.ramp import next_step, on_a_ramp
from store.records import Canary, now


def test_each_share_holds_for_its_votes_and_the_last_for_good() -> None:
    plain = Canary(number=2, share=1.0, started_at=now(), actor="ann", reason="better?")
    canary = on_a_ramp(plain, (0.05, 0.25, 1.0), 20)
    shares = []
    for votes in range(0, 60):
        canary = next_step(canary, votes, 20) or canary
        shares.append(canary.share)
    assert shares == [0.05] * 20 + [0.25] * 20 + [1.0] * 20
    assert next_step(canary, 10_000, 20) is None
    assert (canary.started_at, canary.actor) == (plain.started_at, "ann")


def test_votes_that_were_taken_back_do_not_bring_the_share_down() -> None:
    plain = Canary(number=2, share=1.0, started_at=now(), actor="ann", reason="better?")
    canary = next_step(on_a_ramp(plain, (0.05, 0.25, 1.0), 20), 20, 20)
    assert canary is not None
    assert next_step(canary, 15, 20) is None
