"""Opinions: found by their vote, bounded, in order; how often the model was right about recent votes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from store import keys
from store.connection import Redis
from store.opinions import Opinion, Opinions, ScoredAnswer, agreement_of_recent_votes
from store.records import PolicyVersion, Vote, VotedAnswer, new_id, now
from store.votes import VoteLog

pytestmark = pytest.mark.anyio


def opinion(
    vote_id: str, a: float = 1.0, b: float = 0.0, *, model: int = 2, learned: bool = False
) -> Opinion:
    return Opinion(
        vote_id=vote_id,
        reward_model=model,
        answers=(ScoredAnswer(answer_id="a", score=a), ScoredAnswer(answer_id="b", score=b)),
        learned_from=learned,
        at=now(),
    )


async def test_an_opinion_is_found_by_its_vote_and_the_oldest_go(client: Redis) -> None:
    opinions = Opinions(client, kept=3)
    await opinions.add([opinion("v1"), opinion("v2")])
    await opinions.add([opinion("v3", 0.5, 0.75), opinion("v4")])

    assert await opinions.get("v1") is None
    assert (await opinions.several(["v1", "v3", "v9"])).keys() == {"v3"}
    third = await opinions.get("v3")
    assert third is not None
    assert third.margin == -0.25
    assert [one.vote_id for one in await opinions.newest(2)] == ["v4", "v3"]
    assert await client.hlen(keys.OPINIONS) == 3


async def test_a_reader_follows_and_one_that_is_formed_again_comes_again(client: Redis) -> None:
    opinions = Opinions(client)
    await opinions.add([opinion("v1"), opinion("v2"), opinion("v3")])

    through, first = await opinions.after(0, limit=2)
    through, rest = await opinions.after(through, limit=2)
    await opinions.add([opinion("v1", model=3)])
    through, again = await opinions.after(through)

    assert [one.vote_id for one in first + rest] == ["v1", "v2", "v3"]
    assert [(one.vote_id, one.reward_model) for one in again] == [("v1", 3)]
    assert await opinions.after(through) == (through, [])


async def test_failures_are_counted_until_opinions_come(client: Redis) -> None:
    opinions = Opinions(client)
    assert [await opinions.failed("no memory"), await opinions.failed("no memory")] == [1, 2]
    await opinions.add([opinion("v1")])
    assert await opinions.trouble() is None
    assert await opinions.failed("again") == 1


async def test_only_one_begins_within_the_time(client: Redis) -> None:
    opinions = Opinions(client)
    assert [await opinions.may_begin(60), await opinions.may_begin(60)] == [True, False]


async def test_a_clock_set_back_keeps_opinions_waiting_no_longer(client: Redis) -> None:
    await client.set(keys.OPINIONS_BEGUN, 1, ex=7260)
    assert not await Opinions(client).may_begin(60)
    assert await client.ttl(keys.OPINIONS_BEGUN) <= 60


@pytest.fixture
async def voted(client: Redis, ask: Callable[[Redis], Any]) -> Callable[..., Any]:
    """A function that casts a vote on a new duel and stores what a reward model thought of it."""
    version = PolicyVersion(number=2, reward_model=2, folder="v0002", sha256="x", created_at=now())
    await client.hset(keys.POLICIES, "2", version.model_dump_json())
    await client.set(keys.POLICY_ACTIVE, 2)

    async def cast(
        choice: str, a: float, b: float, *, model: int = 2, learned: bool = False, **said: Any
    ) -> Vote:
        asked = await ask(client)
        vote = Vote(
            id=new_id("vote"),
            kind="duel",
            conversation_id=asked.conversation.id,
            duel_id=asked.duel.id,
            annotator_id="ann",
            choice=choice,
            idempotency_key=new_id("key"),
            created_at=now(),
            **said,
        )
        await VoteLog(client).cast(vote, asked.duel)
        await Opinions(client).add([opinion(vote.id, a, b, model=model, learned=learned)])
        return vote

    return cast


async def test_agreement_counts_unseen_decisive_votes_of_the_active_versions_model(
    client: Redis, voted: Callable[..., Any]
) -> None:
    await voted("a", 2.0, 1.0)  # right
    await voted("b", 2.0, 1.0)  # wrong
    await voted("b", 1.0, 2.0)  # right
    await voted("a", 1.0, 1.0)  # equal scores: wrong
    await voted("tie", 2.0, 1.0)
    await voted("a", 2.0, 1.0, learned=True)
    await voted("a", 2.0, 1.0, model=1)
    await voted("a", 2.0, 1.0, check="gold")
    await voted("a", 2.0, 1.0, answers=(VotedAnswer(answer_id="a", version=2, position=1, leak="I am GPT"),))
    undone = await voted("a", 2.0, 1.0)
    await VoteLog(client).undo(undone.id, "ann")

    assert await agreement_of_recent_votes(client, 100) == (2, 4)
    assert await agreement_of_recent_votes(client, 2) == (1, 2)  # the newest two: equal, and right


async def test_a_version_without_a_reward_model_predicts_nothing(
    client: Redis, voted: Callable[..., Any]
) -> None:
    await voted("a", 2.0, 1.0)
    version = PolicyVersion(number=1, folder="v0001", sha256="x", created_at=now())
    await client.hset(keys.POLICIES, "1", version.model_dump_json())
    await client.set(keys.POLICY_ACTIVE, 1)

    assert await agreement_of_recent_votes(client, 100) == (0, 0)
    await client.delete(keys.POLICY_ACTIVE)
    assert await agreement_of_recent_votes(client, 100) == (0, 0)
