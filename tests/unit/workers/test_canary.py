"""The canary is decided by blind votes at a tick: real Redis, votes in the log, nobody watching."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from store.audit import Audit
from store.explorer.counted import canary_counts
from store.explorer.index import VoteIndex
from store.outlook import Outlooks
from store.policies import Policies
from store.records import EngineStatus, PolicyVersion, Vote, VotedAnswer, new_id, now
from store.trash import GRACE, Trash
from store.votes import VoteLog
from tests.worker_parts import Platform
from workers import recipe, schedule
from workers.canary import decide
from workers.settings import Release, Schedule

pytestmark = pytest.mark.anyio


async def engines(heed: Platform, count: int) -> None:
    ready = [
        EngineStatus(name=f"e{n}", address="unix:///e", state="ready", seen_at=now()) for n in range(count)
    ]
    await heed.policies.report_engines("here", ready)


async def candidate(heed: Platform, number: int) -> None:
    await heed.policies.register(
        PolicyVersion(number=number, folder=f"v{number:04d}", sha256=f"digest {number}", created_at=now())
    )


@pytest.fixture
async def trial(heed: Platform) -> Platform:
    """Version 2 is a canary against version 1, started by a person."""
    await engines(heed, 2)
    await candidate(heed, 2)
    await heed.policies.start_canary(2, 0.5, "ann", "is it better?")
    return heed


def side(version: int, **more: Any) -> dict[str, Any]:
    return {"id": new_id("ans"), "policy_version": version, "versions": (version,), **more}


async def vote(heed: Platform, choice: str, a: dict[str, Any], b: dict[str, Any], **said: Any) -> Vote:
    """On a duel of these two, named in the vote as the server names them."""
    answers = tuple(
        VotedAnswer(answer_id=one["id"], version=one["policy_version"], position=place, leak=one.get("leak"))
        for place, one in enumerate((a, b), 1)
    )
    return await heed.vote(choice, a=a, b=b, said={"answers": answers, **said})


async def votes(
    heed: Platform, won: int, lost: int = 0, against: int = 1, canary: int = 2, **said: Any
) -> list[Vote]:
    """Votes on duels of v2 against v1 (or others), v2 on either side."""
    cast = []
    for n in range(won + lost):
        sides = (side(canary), side(against)) if n % 2 == 0 else (side(against), side(canary))
        choice = "a" if (n % 2 == 0) == (n < won) else "b"
        cast.append(await vote(heed, choice, *sides, **said))
    return cast


async def states(heed: Platform) -> dict[int, str]:
    return {version.number: version.state for version in await heed.policies.versions()}


async def look(heed: Platform, **release: Any) -> dict[int, str]:
    await decide(heed.redis, replace(heed.settings, release=Release(**release)))
    return await states(heed)


async def test_a_better_canary_is_promoted_at_a_tick(trial: Platform) -> None:
    await votes(trial, 18, 1)
    await schedule.tick(trial.settings)
    assert await states(trial) == {2: "active", 1: "retired"}
    assert await trial.policies.canary() is None
    last = (await trial.policies.timeline())[0]
    assert (last.number, last.actor) == (2, "heed")
    assert last.reason.startswith("better: won 18 of 19 decisive votes, e-value ")
    assert float(last.reason.rpartition(" ")[2]) >= 20


async def test_while_a_version_is_on_trial_no_training_starts_by_itself(trial: Platform) -> None:
    await votes(trial, 3, 3)
    trial = replace(trial, settings=replace(trial.settings, schedule=Schedule(min_votes=2)))
    assert await schedule.tick(trial.settings) == []
    seen = await Outlooks(trial.redis).read()
    assert seen is not None
    assert (seen.canary, seen.because) == (2, "votes")
    await trial.policies.end_canary("stopped", "ann", "enough")
    [run_id] = await schedule.tick(trial.settings)
    assert (await trial.run(run_id)).requested_by == "votes"


async def test_a_worse_canary_is_rolled_back(trial: Platform) -> None:
    await votes(trial, 1, 18)
    assert await look(trial) == {2: "rolled_back", 1: "active"}
    event = (await Audit(trial.redis).newest())[0]
    assert (event.actor, event.action, event.detail["outcome"]) == ("heed", "canary_end", "rolled_back")
    assert event.detail["reason"].startswith("worse: won 1 of 19 decisive votes")


async def test_an_undecided_canary_goes_on_until_the_limit(trial: Platform) -> None:
    await votes(trial, 3, 2)
    assert await look(trial) == {2: "canary", 1: "active"}
    await votes(trial, 1)
    assert await look(trial, canary_max_votes=6) == {2: "candidate", 1: "active"}
    stopped = await trial.policies.get(2)
    assert stopped is not None
    assert (stopped.reason or "").startswith("undecided at the limit: won 4 of 6 decisive votes")


async def test_votes_that_do_not_compare_the_two_blindly_decide_nothing(trial: Platform) -> None:
    await votes(trial, 20, blind=False)
    await votes(trial, 20, check="gold")
    await votes(trial, 20, against=3)
    await votes(trial, 20, against=2)
    for _ in range(20):
        await vote(trial, "a", side(2, leak="I am v2"), side(1))
    assert await look(trial, canary_max_votes=1) == {2: "canary", 1: "active"}


async def test_ties_undone_votes_and_deleted_conversations_decide_nothing(trial: Platform) -> None:
    for undone in await votes(trial, 20):
        await trial.votes.undo(undone.id, "ann")
    for deleted in await votes(trial, 3):
        conversation = await trial.conversations.get(deleted.conversation_id)
        assert conversation is not None
        await Trash(trial.redis).put(conversation, now())
    await Trash(trial.redis).empty(now() + GRACE)
    await vote(trial, "tie", side(2), side(1))
    assert await look(trial, canary_max_votes=1) == {2: "canary", 1: "active"}


async def test_votes_of_an_earlier_trial_do_not_count(trial: Platform) -> None:
    await votes(trial, 18)
    await trial.policies.end_canary("stopped", "ann", "enough for today")
    await trial.policies.start_canary(2, 0.5, "ann", "again")
    await votes(trial, 1)
    assert await look(trial) == {2: "canary", 1: "active"}


async def test_a_vote_that_was_taken_back_after_a_look_counts_no_more(trial: Platform) -> None:
    first = await votes(trial, 2)
    assert (await look(trial))[2] == "canary"
    await trial.votes.undo(first[0].id, "ann")
    assert (await look(trial, canary_max_votes=2))[2] == "canary"
    await trial.votes.exclude(first[1].id, "rev", "spam")
    await votes(trial, 2)
    assert (await look(trial, canary_max_votes=2))[2] == "candidate"


async def test_the_log_is_read_again_only_when_something_is_new(
    trial: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await votes(trial, 2)
    read, reads = VoteLog.read, []

    async def noted(log: VoteLog, *where: str) -> list[tuple[str, Vote]]:
        reads.append(where)
        return await read(log, *where)

    monkeypatch.setattr(VoteLog, "read", noted)
    for _ in range(3):
        await look(trial)
    assert len(reads) == 1
    await votes(trial, 1)
    await look(trial)
    assert len(reads) == 2


async def test_the_page_counts_the_same(trial: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    await votes(trial, 4, 1)
    await votes(trial, 2, against=3)
    index, canary = VoteIndex(trial.redis, trial.settings.data), await trial.policies.canary()
    assert canary is not None
    assert canary_counts((await index.refresh()).rows, canary, 1) == (4, 1)
    monkeypatch.setattr("workers.canary.AT_ONCE", 2)
    assert (await look(trial, canary_max_votes=5))[2] == "candidate"
    stopped = await trial.policies.get(2)
    assert stopped is not None
    assert "won 4 of 5" in (stopped.reason or "")


async def test_of_two_workers_one_decides(trial: Platform) -> None:
    await votes(trial, 18)
    await asyncio.gather(*(look(trial) for _ in range(4)))
    assert await states(trial) == {2: "active", 1: "retired"}
    ended = [event for event in await Audit(trial.redis).newest() if event.action == "canary_end"]
    assert len(ended) == 1
    assert len(await trial.policies.timeline()) == 2


async def test_another_canary_that_began_meanwhile_is_left_alone(
    trial: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await votes(trial, 18)
    await candidate(trial, 3)
    end_canary = Policies.end_canary

    async def after_a_person(policies: Policies, *given: Any, **more: Any) -> None:
        monkeypatch.undo()
        await trial.policies.end_canary("rejected", "ann", "it swears")
        await trial.policies.start_canary(3, 0.1, "ann", "next")
        await end_canary(policies, *given, **more)

    monkeypatch.setattr(Policies, "end_canary", after_a_person)
    assert await look(trial) == {3: "canary", 2: "rejected", 1: "active"}


async def test_without_a_canary_there_is_nothing_to_decide(heed: Platform) -> None:
    await votes(heed, 18)
    assert await look(heed) == {1: "active"}


async def released(heed: Platform, **release: Any) -> tuple[str, dict[str, Any]]:
    """(state of the run, what its release says) of a run that passed the gate."""
    for number in range(3):
        await heed.vote(text=f"Lesson {number}")
    run = await heed.runs.request("votes")
    settings = replace(heed.settings, release=Release(serve_timeout_s=5, **release))
    servers = asyncio.create_task(heed.serve())
    await recipe.retrain(run.id, settings)
    servers.cancel()
    await asyncio.gather(servers, return_exceptions=True)
    ended = await heed.run(run.id)
    return ended.state, next(one.summary for one in ended.stages if one.stage == "release")


async def test_a_version_that_passed_the_gate_is_a_canary_first(heed: Platform) -> None:
    await engines(heed, 2)
    assert await released(heed, canary_share=0.2) == ("succeeded", {"version": 2, "canary_share": 0.2})
    canary = await heed.policies.canary()
    assert canary is not None
    assert (canary.number, canary.share, canary.actor) == (2, 0.2, "heed")
    assert await states(heed) == {2: "canary", 1: "active"}


async def test_with_one_engine_it_is_released_at_once_and_says_why(heed: Platform) -> None:
    await engines(heed, 1)
    state, said = await released(heed, canary_share=0.2)
    why = "a canary needs two engines that run, and there is one"
    assert (state, said) == ("succeeded", {"version": 2, "released_at_once": why})
    assert await states(heed) == {2: "active", 1: "retired"}
    assert (await heed.policies.timeline())[0].reason.endswith(why)


async def test_while_a_canary_runs_the_next_version_waits_for_a_person(heed: Platform) -> None:
    await engines(heed, 2)
    await candidate(heed, 2)
    await heed.policies.start_canary(2, 0.5, "ann", "is it better?")
    await engines(heed, 1)  # the missing engine is no reason to end the trial
    state, said = await released(heed, canary_share=0.2)
    why = "a person decides: it passed the gate while v2 was a canary"
    assert (state, said) == ("succeeded", {"version": 3, "stays_candidate": why})
    assert await states(heed) == {3: "candidate", 2: "canary", 1: "active"}
    waiting = await heed.policies.get(3)
    assert waiting is not None
    assert waiting.reason == why
