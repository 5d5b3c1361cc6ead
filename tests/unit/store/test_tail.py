"""Many followers, one blocked read: nothing is lost, repeated, late, or somebody else's."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from store import tail
from store.connection import Redis
from store.streams import AnswerStream
from tests.present import present

pytestmark = pytest.mark.anyio


async def words(stream: AnswerStream, name: str, count: int, after: str = "0") -> list[str]:
    said = []
    async with aclosing(stream.read(name, after)) as entries:
        async for entry in entries:
            if entry is not None:
                said.append(str(entry.data["word"]))
            if len(said) == count:
                return said
    raise AssertionError("it ends by itself")


async def test_a_hundred_followers_hold_one_connection(client: Redis) -> None:
    stream = AnswerStream(client)
    following = [asyncio.create_task(words(stream, f"turn_{number}", 1)) for number in range(100)]
    await asyncio.sleep(0.5)
    assert (await client.info("clients"))["blocked_clients"] == 1
    for number in range(100):
        await stream.append(f"turn_{number}", "answer.delta", {"word": str(number)})
    assert [said for (said,) in await asyncio.gather(*following)] == [str(number) for number in range(100)]
    async with asyncio.timeout(3):
        while (await client.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.05)


async def test_a_new_follower_does_not_wait_for_the_blocked_read(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "BLOCK_MS", 600_000)  # whoever waits for its end hears of a time-out
    stream = AnswerStream(client)
    first = asyncio.create_task(words(stream, "turn_1", 1))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(words(stream, "turn_2", 1))
    await asyncio.sleep(0.1)
    await stream.append("turn_2", "answer.delta", {"word": "now"})
    assert await second == ["now"]
    await stream.append("turn_1", "answer.delta", {"word": "too"})
    assert await first == ["too"]


async def test_who_comes_as_the_last_one_leaves_is_not_forgotten(client: Redis) -> None:
    stream = AnswerStream(client)
    leaving = asyncio.create_task(words(stream, "turn_1", 1))
    await asyncio.sleep(0.2)
    leaving.cancel()
    coming = asyncio.create_task(words(stream, "turn_2", 1))
    await asyncio.sleep(0.2)
    await stream.append("turn_2", "answer.delta", {"word": "heard"})
    async with asyncio.timeout(3):
        assert await coming == ["heard"]


async def test_followers_that_come_while_words_come_get_each_once(client: Redis) -> None:
    stream = AnswerStream(client)
    following = []

    async def speak() -> None:
        for number in range(200):
            await stream.append("turn_1", "answer.delta", {"word": str(number)})

    speaking = asyncio.create_task(speak())
    for _ in range(10):
        following.append(asyncio.create_task(words(stream, "turn_1", 200)))
        await asyncio.sleep(0.01)
    await speaking
    for said in await asyncio.gather(*following):
        assert said == [str(number) for number in range(200)]


async def test_a_late_follower_goes_on_after_an_id_of_its_own(client: Redis) -> None:
    stream = AnswerStream(client)
    ids = [await stream.append("turn_1", "answer.delta", {"word": str(number)}) for number in range(5)]
    early = asyncio.create_task(words(stream, "turn_1", 6))
    await asyncio.sleep(0.1)
    late = asyncio.create_task(words(stream, "turn_1", 2, after=ids[3]))
    await asyncio.sleep(0.1)
    await stream.append("turn_1", "answer.delta", {"word": "5"})
    assert await late == ["4", "5"]
    assert await early == ["0", "1", "2", "3", "4", "5"]


async def test_a_follower_that_stops_reading_holds_little_and_misses_nothing(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "AT_ONCE", 50)
    stream = AnswerStream(client)
    await stream.append("turn_1", "answer.delta", {"word": "0"})
    async with aclosing(stream.read("turn_1")) as entries:
        said = [present(await anext(entries)).data["word"]]
        other = asyncio.create_task(words(stream, "turn_1", 301))
        held = 0
        for number in range(1, 301):
            await stream.append("turn_1", "answer.delta", {"word": str(number)})
            (inboxes,) = stream._tail._inboxes.values()
            held = max(held, *(inbox.qsize() for inbox in inboxes))
        assert 10 < held <= tail.AT_ONCE + 1
        async for entry in entries:
            said += [entry.data["word"]] if entry else []
            if len(said) == 301:
                break
    assert said == await other == [str(number) for number in range(301)]
