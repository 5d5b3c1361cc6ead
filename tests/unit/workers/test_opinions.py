"""Opinions are formed after the vote, by the right reward model, and give way to a run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from store import keys
from store.opinions import Opinions, agreement_of_recent_votes
from store.records import PolicyVersion, VotedAnswer, new_id, now
from store.stream_ids import position
from tests.stub_trainer import write_weights
from tests.worker_parts import Platform
from workers import opinions
from workers.settings import Opinions as Section

pytestmark = pytest.mark.anyio


async def trained(heed: Platform, number: int) -> PolicyVersion:
    """A version with a reward model of its own."""
    version = PolicyVersion(
        number=number,
        run_id=f"run_{number}",
        reward_model=number,
        folder=f"v{number:04d}",
        sha256=f"digest {number}",
        created_at=now(),
    )
    await heed.policies.register(version)
    write_weights(heed.settings.data / "reward_models" / version.folder, [1.0], "score.weight")
    return version


def side(text: str, version: int, **more: Any) -> dict[str, Any]:
    made = {"policy_version": version, "versions": (version,), "finish_reason": "stop"}
    return {"text": text, **made, **more}


async def test_a_vote_gets_the_scores_of_the_model_behind_its_newest_answer(heed: Platform) -> None:
    await trained(heed, 2)
    await trained(heed, 3)
    same = await heed.vote("a", a=side("four", 2), b=side("seven..", 2))
    mixed = await heed.vote("b", a=side("ab", 2), b=side("abc", 3))

    assert await opinions.form(heed.settings) == 2

    found = await Opinions(heed.redis).several([same.id, mixed.id])
    assert [score.score for score in found[same.id].answers] == [4.0, 7.0]
    assert (found[same.id].reward_model, found[mixed.id].reward_model) == (2, 3)
    assert [call["reward-model"][-5:] for call in heed.calls("score")] == ["v0002", "v0003"]
    (_, fed), *_ = await heed.redis.xrevrange(keys.FEED, count=1)
    assert (fed["event"], set(json.loads(fed["data"])["votes"])) == ("opinions", {same.id, mixed.id})
    assert not (heed.settings.data / "opinions" / "cases.jsonl").exists()


async def test_nothing_is_scored_before_its_vote_twice_or_without_a_reward_model(heed: Platform) -> None:
    await trained(heed, 2)
    await heed.vote("a", a=side("one", 2), b=side("three", 2))
    base = await heed.vote("a", a=side("one", 1), b=side("three", 1))
    skipped = await heed.vote("skip", a=side("one", 2), b=side("three", 2))
    undone = await heed.vote("a", a=side("one", 2), b=side("three", 2))
    await heed.votes.undo(undone.id, "ann")

    assert [await opinions.form(heed.settings), await opinions.form(heed.settings)] == [1, 0]
    assert await Opinions(heed.redis).several([base.id, skipped.id, undone.id]) == {}
    assert len(heed.calls("score")) == 1
    assert not await opinions.due(heed.settings)


async def test_a_changed_vote_keeps_its_opinion_and_a_ranking_gets_one(heed: Platform) -> None:
    await trained(heed, 2)
    vote = await heed.vote("a", a=side("one", 2, id="ans_1"), b=side("three", 2, id="ans_2"))
    ranked = vote.model_copy(
        update={
            "id": new_id("vote"),
            "kind": "ranking",
            "choice": "ranked",
            "duel_id": None,
            "idempotency_key": new_id("key"),
            "answers": tuple(
                VotedAnswer(answer_id=f"ans_{place}", version=2, position=place, rank=place)
                for place in (1, 2)
            ),
        }
    )
    await heed.votes.cast(ranked)
    assert await opinions.form(heed.settings) == 2
    await heed.votes.amend(vote.id, "ann", choice="b")

    assert await opinions.form(heed.settings) == 0
    assert (await Opinions(heed.redis).several([ranked.id])).keys() == {ranked.id}


async def test_a_vote_that_the_model_learned_from_predicts_nothing(heed: Platform) -> None:
    version = await trained(heed, 2)
    await heed.policies.activate(2, "release", "better", expected=1)
    seen = await heed.vote("b", a=side("one", 2), b=side("three", 2))
    await heed.vote("b", a=side("one", 2), b=side("three", 2))
    await heed.redis.sadd(keys.run_votes(version.run_id or ""), seen.id)

    await opinions.form(heed.settings)

    found = await Opinions(heed.redis).get(seen.id)
    assert found is not None
    assert found.learned_from
    assert await agreement_of_recent_votes(heed.redis, 10) == (1, 1)


async def test_an_early_vote_is_scored_as_long_as_it_was_read(heed: Platform) -> None:
    await trained(heed, 2)
    early = {"early": True}
    stopped = side("short", 2, state="stopped", finish_reason="stopped")
    vote = await heed.vote("a", a=side("went on for longer", 2), b=stopped, said=early)

    await opinions.form(heed.settings)

    found = await Opinions(heed.redis).get(vote.id)
    assert found is not None
    assert [score.score for score in found.answers] == [5.0, 5.0]


async def test_a_run_stops_a_pass_and_the_next_pass_does_it(heed: Platform, monkeypatch: Any) -> None:
    monkeypatch.setattr(opinions, "LOOK_EVERY_S", 0.05)
    await trained(heed, 2)
    vote = await heed.vote("a", a=side("one", 2), b=side("three", 2))
    heed.plan(score={"steps": 1000, "step_s": 0.05})
    passing = asyncio.create_task(opinions.form(heed.settings))
    while not heed.calls("score"):
        await asyncio.sleep(0.02)
    run = await heed.runs.request("votes")

    assert await asyncio.wait_for(passing, 20) == 0
    assert not await opinions.due(heed.settings)
    assert await opinions.form(heed.settings) == 0  # a message that came late
    await heed.runs.cancel(run.id)
    heed.plan()
    assert await opinions.form(heed.settings) == 1
    assert await Opinions(heed.redis).get(vote.id) is not None


async def test_a_pass_takes_a_few_votes_and_the_next_goes_on(heed: Platform) -> None:
    await trained(heed, 2)
    few = replace(heed.settings, opinions=Section(at_once=2))
    for _ in range(5):
        await heed.vote("a", a=side("one", 2), b=side("three", 2))

    assert [await opinions.form(few) for _ in range(4)] == [2, 2, 1, 0]
    assert position(await heed.votes.mark("scored_through")) == position(await heed.votes.newest())


async def test_three_failures_are_told_and_later_votes_do_not_wait_for_ever(heed: Platform) -> None:
    await trained(heed, 2)
    lost = await heed.vote("a", a=side("one", 2), b=side("three", 2))
    heed.plan(score={"exit": 9})
    for _ in range(3):
        assert await opinions.form(heed.settings) == 0
    trouble = await Opinions(heed.redis).trouble()
    assert trouble is not None
    assert (trouble.tries, "exited with 9" in trouble.error) == (3, True)

    heed.plan()
    later = await heed.vote("a", a=side("one", 2), b=side("three", 2))
    assert await opinions.form(heed.settings) == 1
    assert (await Opinions(heed.redis).several([lost.id, later.id])).keys() == {later.id}
    assert await Opinions(heed.redis).trouble() is None


async def test_what_does_not_fit_has_no_opinion(heed: Platform) -> None:
    await trained(heed, 2)
    heed.plan(score={"scores": {"one": None}})
    vote = await heed.vote("a", a=side("one", 2), b=side("three", 2))
    assert await opinions.form(heed.settings) == 0
    assert await Opinions(heed.redis).get(vote.id) is None


async def test_due_when_votes_wait_not_too_often_and_never_when_off(heed: Platform) -> None:
    assert not await opinions.due(heed.settings)
    await heed.vote("a", a=side("one", 1), b=side("three", 1))
    assert not await opinions.due(replace(heed.settings, opinions=Section(every_s=0)))
    assert [await opinions.due(heed.settings), await opinions.due(heed.settings)] == [True, False]
