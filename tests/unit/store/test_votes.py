"""Votes: exactly once, durable, refused when they must be."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import pytest

from store import keys
from store.connection import Redis, StoreUnavailable, connect
from store.conversations import Conversations
from store.records import ThumbChoice, Vote, new_id, now
from store.trash import GRACE, Trash
from store.votes import AlreadyVoted, IdempotencyConflict, VoteLog
from tests.archive_parts import Ask, VoteOn
from tests.conftest import RedisServer
from tests.present import present

pytestmark = pytest.mark.anyio


def thumb(answer_id: str, choice: ThumbChoice, key: str) -> Vote:
    return Vote(
        id=new_id("vote"),
        kind="thumb",
        conversation_id="conv_1",
        answer_id=answer_id,
        annotator_id="ann",
        choice=choice,
        version_a=1,
        idempotency_key=key,
        created_at=now(),
    )


async def test_same_key_twice_is_one_vote(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    first, created = await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel)
    again, created_again = await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel)
    assert (created, created_again) == (True, False)
    assert again == first
    assert await votes.total() == 1
    assert present(await Conversations(client).duel(asked.duel.id)).vote_id == first.id


async def test_same_key_with_another_vote_is_refused(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel)
    for other in (
        vote_on(asked.duel, "b", "k1"),
        vote_on(asked.duel, "a", "k1").model_copy(update={"comment": "it rhymes"}),
    ):
        with pytest.raises(IdempotencyConflict):
            await votes.cast(other, asked.duel)
    assert await votes.total() == 1


async def test_same_key_of_another_annotator_is_another_vote(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, one, two = VoteLog(client), await ask(client), await ask(client)
    await votes.cast(vote_on(one.duel, key="k1", annotator="ann"), one.duel)
    _, created = await votes.cast(vote_on(two.duel, key="k1", annotator="bob"), two.duel)
    assert created
    assert await votes.total() == 2


async def test_second_vote_on_a_decided_duel_is_refused_with_the_first_ones_id(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    first, _ = await votes.cast(vote_on(asked.duel, "a"), asked.duel)
    with pytest.raises(AlreadyVoted) as refused:
        await votes.cast(vote_on(asked.duel, "b"), asked.duel)
    assert refused.value.vote_id == first.id
    assert [vote.choice for _, vote in await votes.read()] == ["a"]


async def test_of_votes_cast_at_once_on_one_duel_one_counts(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    tries = [votes.cast(vote_on(asked.duel, random.choice("ab")), asked.duel) for _ in range(20)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert sum(isinstance(result, AlreadyVoted) for result in results) == 19
    assert await votes.total() == 1


async def test_vote_on_a_deleted_conversation_is_refused(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    await Trash(client).put(asked.conversation, now())
    await Trash(client).empty(now() + GRACE)
    with pytest.raises(AlreadyVoted, match="deleted"):
        await votes.cast(vote_on(asked.duel), asked.duel)
    assert await votes.total() == 0


async def test_vote_without_its_duel_is_a_programming_error(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    asked = await ask(client)
    with pytest.raises(ValueError, match="one duel"):
        await VoteLog(client).cast(vote_on(asked.duel))


async def test_latest_thumb_wins_and_every_thumb_stays_in_the_log(client: Redis) -> None:
    votes = VoteLog(client)
    await votes.cast(thumb("ans_1", "up", "0"))
    await votes.cast(thumb("ans_1", "down", "1"))
    assert await votes.thumbs("ann", ["ans_1", "ans_2"]) == {"ans_1": "down"}
    assert [vote.choice for vote in await votes.by_annotator("ann")] == ["down", "up"]


async def test_vote_is_found_by_id_key_and_annotator(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel, key="k1"), asked.duel)
    assert await votes.get(vote.id) == vote
    assert await votes.first_with_key("ann", "k1") == vote
    assert await votes.by_annotator("ann") == [vote]
    assert await votes.get("vote_none") is None
    assert await votes.first_with_key("ann", "k2") is None
    assert await votes.by_annotator("bob") == []


async def test_vote_reaches_the_feed(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    asked = await ask(client)
    vote, _ = await VoteLog(client).cast(vote_on(asked.duel), asked.duel)
    ((_, fields),) = await client.xrange(keys.FEED)
    assert fields["event"] == "vote"
    assert Vote.model_validate_json(fields["data"]) == vote


async def test_pending_counts_duel_votes_for_a_or_b_after_any_mark(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, chance, expected = VoteLog(client), random.Random(1), []
    assert await votes.pending("0") == 0
    for number in range(30):
        if chance.random() < 0.3:
            await votes.cast(thumb("ans_1", "up", f"t{number}"))
        else:
            asked = await ask(client)
            choice = chance.choice(("a", "b", "tie", "both_bad"))
            await votes.cast(vote_on(asked.duel, choice), asked.duel)
    log = await votes.read()
    expected = [vote.choice in ("a", "b") for _, vote in log]
    assert await votes.pending("0") == sum(expected) > 5
    for position, (entry, _) in enumerate(log):
        assert await votes.pending(entry) == sum(expected[position + 1 :])


async def test_read_gives_what_comes_after_one_id_up_to_another(client: Redis) -> None:
    votes = VoteLog(client)
    for number in range(5):
        await votes.cast(thumb(f"ans_{number}", "up", str(number)))
    entries = [entry for entry, _ in await votes.read()]
    assert [entry for entry, _ in await votes.read(entries[0], entries[3])] == entries[1:4]
    assert await votes.read(entries[4]) == []


@pytest.mark.parametrize(
    ("moves", "end"),
    [
        (["5-1", "4-9"], "5-1"),
        (["5-1", "5-0"], "5-1"),
        (["5-1", "5-2"], "5-2"),
        (["9-0", "10-0"], "10-0"),  # as text "9" is above "10"
        (["1763700000000-2", "1763700000000-11"], "1763700000000-11"),
        (["0"], "0"),
    ],
)
async def test_mark_never_moves_backwards(client: Redis, moves: list[str], end: str) -> None:
    votes = VoteLog(client)
    for move in moves:
        await votes.advance("attempted_through", move)
    assert await votes.mark("attempted_through") == end
    assert await votes.mark("trained_through") == "0"


async def test_acknowledged_votes_survive_kill_9_of_the_server(
    redis_server: RedisServer, ask: Ask, vote_on: VoteOn
) -> None:
    async with connect(redis_server.url) as client:
        votes, acknowledged = VoteLog(client), []
        for _ in range(10):
            asked = await ask(client)
            acknowledged.append((await votes.cast(vote_on(asked.duel), asked.duel))[0])
        redis_server.stop(signal.SIGKILL)
        await asyncio.to_thread(redis_server.start)
        # The same client goes on: its pooled connection died with the server and is replaced unnoticed.
        assert [vote for _, vote in await votes.read()] == acknowledged
        for vote in acknowledged:
            again = await votes.cast(vote, await Conversations(client).duel(present(vote.duel_id)))
            assert again == (vote, False)
        asked = await ask(client)
        _, created = await votes.cast(vote_on(asked.duel), asked.duel)
        assert created
        assert await votes.pending("0") == 11


async def test_redis_that_is_down_is_said_quickly(
    redis_server: RedisServer, ask: Ask, vote_on: VoteOn
) -> None:
    async with connect(redis_server.url) as client:
        votes, asked = VoteLog(client), await ask(client)
        redis_server.stop(signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await votes.cast(vote_on(asked.duel), asked.duel)
        assert time.monotonic() - began < 1


async def test_redis_that_hangs_is_said_within_three_seconds(
    redis_server: RedisServer, ask: Ask, vote_on: VoteOn
) -> None:
    async with connect(redis_server.url) as client:
        votes, asked = VoteLog(client), await ask(client)
        vote = vote_on(asked.duel)
        present(redis_server.process).send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await votes.cast(vote, asked.duel)
            assert time.monotonic() - began < 3
        finally:
            present(redis_server.process).send_signal(signal.SIGCONT)
        # Whether the first try counted is unknown to the caller; the same key makes it one vote.
        await votes.cast(vote, asked.duel)
        assert [logged for _, logged in await votes.read()] == [vote]


@pytest.mark.parametrize(
    ("setting", "broken", "sound"),
    [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")],
)
async def test_redis_that_refuses_writes_is_unavailable_and_heals(
    client: Redis, ask: Ask, vote_on: VoteOn, setting: str, broken: str, sound: str
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    await client.config_set(setting, broken)
    try:
        with pytest.raises(StoreUnavailable):
            await votes.cast(vote_on(asked.duel), asked.duel)
        with pytest.raises(StoreUnavailable):
            await Conversations(client).create("ann", "a pipeline")
        assert await votes.total() == 0
    finally:
        await client.config_set(setting, sound)
    await votes.cast(vote_on(asked.duel), asked.duel)
    assert await votes.total() == 1
