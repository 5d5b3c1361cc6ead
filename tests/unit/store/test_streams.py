"""Streams: read from any point, by any number of readers, and gone when nobody can want them."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator

import pytest

from store import keys, streams, tail
from store.connection import Redis, StoreUnavailable, connect
from store.streams import AnswerStream, Feed
from store.tail import Entry
from tests.conftest import RedisServer

pytestmark = pytest.mark.anyio


async def take(entries: AsyncIterator[Entry | None], count: int) -> list[Entry]:
    """The next `count` entries, silence left out."""
    found: list[Entry] = []
    async for entry in entries:
        if entry is not None:
            found.append(entry)
        if len(found) == count:
            return found
    raise AssertionError("a stream is read for ever")


async def test_late_reader_gets_every_event_and_a_reconnect_the_rest(client: Redis) -> None:
    stream = AnswerStream(client)
    ids = [await stream.append("turn_1", "answer.delta", {"text": f"{number} ü"}) for number in range(5)]
    entries = await take(stream.read("turn_1"), 5)
    assert [entry.id for entry in entries] == ids
    assert [entry.data["text"] for entry in entries] == [f"{number} ü" for number in range(5)]
    assert {entry.event for entry in entries} == {"answer.delta"}
    for position, entry in itertools.islice(enumerate(entries), 4):
        assert await take(stream.read("turn_1", entry.id), 4 - position) == entries[position + 1 :]


async def test_readers_that_wait_hear_what_comes(client: Redis) -> None:
    stream = AnswerStream(client)
    readers = [asyncio.create_task(take(stream.read("turn_1"), 2)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await stream.append("turn_1", "answer.start", {})
    await stream.append("turn_1", "turn.end", {})
    for entries in await asyncio.gather(*readers):
        assert [entry.event for entry in entries] == ["answer.start", "turn.end"]


async def test_more_readers_than_a_default_pool_leave_room_for_others(client: Redis) -> None:
    stream = AnswerStream(client)
    readers = []
    for _ in range(12):  # as pages open, not all in one moment
        readers += [asyncio.create_task(take(stream.read("turn_1"), 1)) for _ in range(10)]
        await asyncio.sleep(0.03)
    await stream.append("turn_1", "turn.end", {})
    assert len(await asyncio.gather(*readers)) == 120


async def test_silence_gives_a_chance_for_a_heartbeat(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "BLOCK_MS", 20)
    monkeypatch.setattr(tail, "SILENCE_S", 0.1)
    stream = AnswerStream(client)
    assert await anext(stream.read("turn_1")) is None


async def test_a_blocking_read_ends_before_the_sockets_timeout(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SILENCE_S", 1)
    assert await anext(AnswerStream(client).read("turn_1")) is None


async def test_reader_of_a_redis_that_died_is_told(redis_server: RedisServer) -> None:
    async with connect(redis_server.url) as client:
        reader = asyncio.create_task(take(AnswerStream(client).read("turn_1"), 1))
        await asyncio.sleep(0.05)
        redis_server.stop(signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await reader


async def test_stream_of_a_dead_server_and_a_finished_one_run_out(client: Redis) -> None:
    stream = AnswerStream(client)
    await stream.append("turn_1", "answer.start", {})
    assert 23 * 3600 < await client.ttl(keys.answer_stream("turn_1")) <= 24 * 3600
    await stream.finish("turn_1")
    assert 0 < await client.ttl(keys.answer_stream("turn_1")) <= 15 * 60
    await stream.append("turn_1", "turn.end", {})
    assert await client.ttl(keys.answer_stream("turn_1")) <= 15 * 60
    assert await stream.exists("turn_1")
    assert not await stream.exists("turn_2")


async def test_number_that_json_does_not_know_is_refused(client: Redis) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await AnswerStream(client).append("turn_1", "answer.delta", {"logprob": float("nan")})


async def test_generation_is_alive_while_it_is_held(client: Redis) -> None:
    stream = AnswerStream(client)
    assert not await stream.alive("ans_1")
    await stream.hold("ans_1", "server-1")
    assert await stream.alive("ans_1")
    assert 0 < await client.ttl(keys.generation("ans_1")) <= 15
    await stream.release("ans_1")
    assert not await stream.alive("ans_1")


async def test_stop_reaches_the_generation_it_is_for(client: Redis) -> None:
    stream = AnswerStream(client)
    await stream.request_stop("ans_1")
    assert await stream.stop_requested("ans_1")
    assert not await stream.stop_requested("ans_2")


async def test_feed_can_be_followed_from_now(client: Redis) -> None:
    feed = Feed(client)
    assert await feed.last_id() == "0"
    await feed.append("engines", {"number": 1})
    start = await feed.last_id()
    await feed.append("engines", {"number": 2})
    (entry,) = await take(feed.read(start), 1)
    assert entry.data == {"number": 2}


async def test_feed_stays_bounded(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FEED_LENGTH", 10)
    async with client.pipeline() as pipe:
        for number in range(250):
            pipe.xadd(keys.FEED, {"event": "engines", "data": number})
        await pipe.execute()
    await Feed(client).append("engines", {"number": 250})
    assert await client.xlen(keys.FEED) < 150  # trimmed by whole nodes of 100


async def test_answers_are_claimed_together_and_once(client: Redis) -> None:
    stream = AnswerStream(client)
    await stream.request_stop("ans_1")
    assert await stream.claim(["ans_1", "ans_2"], "server-1")
    assert not await stream.stop_requested("ans_1"), "a stop of an earlier try"
    assert not await stream.claim(["ans_3", "ans_2"], "server-2")
    assert not await stream.alive("ans_3"), "all or none"
    await stream.release("ans_2")
    assert await stream.claim(["ans_3", "ans_2"], "server-2")


async def test_whether_there_is_more_is_known_at_once(client: Redis) -> None:
    stream = AnswerStream(client)
    assert not await stream.has_more("turn_1", "0")
    first = await stream.append("turn_1", "answer.start", {})
    assert await stream.has_more("turn_1", "0")
    assert not await stream.has_more("turn_1", first)
    await stream.append("turn_1", "turn.end", {})
    assert await stream.has_more("turn_1", first)


async def test_only_the_answers_of_the_dead_are_let_go(client: Redis) -> None:
    streams = AnswerStream(client)
    for answer_id, owner in (("one", "dead"), ("two", "alive"), ("three", "dead")):
        await streams.hold(answer_id, owner)
    assert await streams.release_all(["dead", "long gone"]) == 2
    assert [await streams.alive(answer_id) for answer_id in ("one", "two", "three")] == [False, True, False]
