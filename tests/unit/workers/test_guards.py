"""Guards end a canary at a tick, by what the servers counted and by thumbs; a ramp goes on without them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from server.version_shapes import CanarySpan
from server.versions import spans
from store.audit import Audit
from store.canary_watch import CanaryWatch, Ended
from store.records import Canary, Vote, VotedAnswer, new_id, now
from store.statistics.guards import LIMIT
from tests.unit.workers.test_canary import candidate, engines, released, states, votes
from tests.worker_parts import Platform
from workers.canary import decide
from workers.settings import Release

pytestmark = pytest.mark.anyio


async def begin(heed: Platform, **more: Any) -> Canary:
    await engines(heed, 2)
    await candidate(heed, 2)
    return await heed.policies.start_canary(2, 0.5, "ann", "is it better?", **more)


async def look(heed: Platform, **release: Any) -> dict[int, str]:
    await decide(heed.redis, replace(heed.settings, release=Release(**release)))
    return await states(heed)


def answer(version: int, **said: Any) -> Ended:
    well: dict[str, Any] = {"failed": False, "stopped": False, "truncated": False, "first_word_s": 0.2}
    return Ended(version=version, **well | said)


async def ended(heed: Platform, canary: Canary, *answers: Ended) -> None:
    await CanaryWatch(heed.redis).record(canary, answers)


async def why(heed: Platform) -> str:
    version = await heed.policies.get(2)
    assert version is not None
    return version.reason or ""


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"failed": True, "truncated": None, "first_word_s": None}, "guard: answers that failed, 15 of 15"),
        ({"stopped": True, "truncated": None}, "guard: answers that their readers stopped, 15 of 15"),
        ({"truncated": True}, "guard: answers cut at the length limit, 15 of 15"),
    ],
)
async def test_a_canary_that_does_harm_ends_at_the_next_look(
    heed: Platform, bad: dict[str, Any], said: str
) -> None:
    canary = await begin(heed)
    for n in range(15):
        assert await look(heed) == {2: "canary", 1: "active"}, n
        await ended(heed, canary, answer(2, **bad), answer(1))
    assert await look(heed) == {2: "rolled_back", 1: "active"}
    assert (await why(heed)).startswith(f"{said} beside 0 of 15 of v1; more than 2 times the odds, e-value ")
    event = (await Audit(heed.redis).newest())[0]
    assert (event.actor, event.action, event.detail["outcome"]) == ("heed", "canary_end", "rolled_back")


async def test_a_slow_canary_ends_by_what_was_slow_before(heed: Platform) -> None:
    canary = await begin(heed)
    await ended(heed, canary, *[answer(1)] * 19, answer(2))
    assert await look(heed) == {2: "canary", 1: "active"}
    await ended(heed, canary, *[answer(2, first_word_s=3.0)] * 14, *[answer(1)] * 14)
    assert await look(heed) == {2: "rolled_back", 1: "active"}
    assert (await why(heed)).startswith("guard: slow first words, 14 of 14 beside 0 of 14 of v1")


async def test_what_goes_wrong_with_both_versions_ends_nothing(heed: Platform) -> None:
    canary = await begin(heed)
    for _ in range(10):
        broken = answer(2, failed=True), answer(1, failed=True), answer(2), answer(1)
        await ended(heed, canary, *broken)
        assert await look(heed) == {2: "canary", 1: "active"}


async def test_the_same_answers_are_weighed_once(heed: Platform) -> None:
    canary = await begin(heed)
    await ended(heed, canary, *[answer(2, failed=True)] * 3, *[answer(1)] * 3)
    for _ in range(5):
        await asyncio.gather(*(look(heed) for _ in range(3)))
    watch = await CanaryWatch(heed.redis).watch(canary)
    failed = next(guard for guard in watch.guards if guard.name == "failed")
    assert (failed.canary_bad, failed.canary_n, failed.active_n) == (3, 3, 3)
    assert 1 < failed.e_value < LIMIT


async def test_a_guard_that_is_off_watches_nothing(heed: Platform) -> None:
    canary = await begin(heed)
    await ended(heed, canary, *[answer(2, failed=True)] * 30, *[answer(1)] * 30)
    assert await look(heed, guard_failed=0) == {2: "canary", 1: "active"}
    assert [guard.name for guard in (await CanaryWatch(heed.redis).watch(canary)).guards] == [
        *("slow", "stopped", "truncated", "thumbs_down")
    ]


async def thumb(heed: Platform, version: int, choice: str, conversation: str) -> None:
    said = VotedAnswer(answer_id=new_id("ans"), version=version, position=1)
    vote = Vote(
        id=new_id("vote"),
        kind="thumb",
        conversation_id=conversation,
        answer_id=said.answer_id,
        annotator_id="ann",
        choice=choice,
        answers=(said,),
        version_a=version,
        blind=False,
        idempotency_key=new_id("key"),
        created_at=now(),
    )
    await heed.votes.cast(vote)


async def test_thumbs_down_end_it_and_a_conversation_counts_once(heed: Platform) -> None:
    await begin(heed)
    for _ in range(60):
        await thumb(heed, 2, "down", "one conversation")
    for n in range(15):
        await thumb(heed, 1, "up", f"active {n}")
    assert await look(heed) == {2: "canary", 1: "active"}
    for n in range(14):
        await thumb(heed, 2, "down", f"canary {n}")
        await thumb(heed, 1, "up", f"more {n}")
        await look(heed)
    assert await states(heed) == {2: "rolled_back", 1: "active"}
    assert (await why(heed)).startswith("guard: thumbs down, ")


async def history(heed: Platform) -> list[CanarySpan]:
    return spans([entry.event for entry in reversed(await Audit(heed.redis).page(100))])


async def test_a_ramp_goes_up_with_the_votes_and_stays_at_the_last_step(heed: Platform) -> None:
    await begin(heed, ramp=(0.8, 1.0), every=4)
    seen = []
    for _ in range(4):
        await votes(heed, 2, 2)
        await look(heed, canary_ramp_votes=4)
        canary = await heed.policies.canary()
        assert canary is not None
        seen.append((canary.share, canary.ramp, canary.next_at))
    assert seen == [(0.8, (1.0,), 8), (1.0, (), None), (1.0, (), None), (1.0, (), None)]
    assert await look(heed, canary_max_votes=16) == {2: "canary", 1: "active"}, "no new vote, no look"
    await votes(heed, 1)
    assert await look(heed, canary_max_votes=17) == {2: "candidate", 1: "active"}
    (span,) = await history(heed)
    assert [(step.share, step.actor) for step in span.steps] == [(0.5, "ann"), (0.8, "heed"), (1.0, "heed")]
    assert span.steps[1].reason.startswith("next step of the ramp: won 2 of 4 decisive votes")
    assert span.outcome == "stopped"


async def test_a_guard_stops_the_ramp(heed: Platform) -> None:
    canary = await begin(heed, ramp=(1.0,), every=2)
    await votes(heed, 1, 1)
    await ended(heed, canary, *[answer(2, failed=True)] * 15, *[answer(1)] * 15)
    assert await look(heed) == {2: "rolled_back", 1: "active"}


async def test_a_share_that_a_person_chose_ends_the_ramp(heed: Platform) -> None:
    await begin(heed, ramp=(1.0,), every=2)
    await heed.policies.change_canary_share(0.1, "ann", "slowly")
    await votes(heed, 2, 2)
    await look(heed)
    canary = await heed.policies.canary()
    assert canary is not None
    assert (canary.share, canary.ramp) == (0.1, ())


async def test_a_version_that_passed_the_gate_begins_at_the_ramps_first_step(heed: Platform) -> None:
    await engines(heed, 2)
    state, said = await released(heed, canary_ramp=(0.05, 0.5), canary_ramp_votes=7)
    assert (state, said) == ("succeeded", {"version": 2, "canary_share": 0.05})
    canary = await heed.policies.canary()
    assert canary is not None
    assert (canary.share, canary.ramp, canary.next_at) == (0.05, (0.5,), 7)


@pytest.mark.parametrize("ramp", [(0.5, 0.2), (0.0, 0.5), (0.5, 1.5), (0.5, 0.5)])
def test_a_ramp_that_does_not_rise_is_refused(ramp: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="each larger than the one before"):
        Release(canary_ramp=ramp)


def test_a_guard_cannot_ask_for_better_than_the_active_version() -> None:
    with pytest.raises(ValueError, match="or 0 for off"):
        Release(guard_slow=0.5)
