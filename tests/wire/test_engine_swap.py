"""Two real engines: swaps and rollbacks under answers, refused weights, a killed engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.marked import LETTERS
from server.drawing import speak
from server.engines import moves
from server.engines.swap import swap
from server.errors import EngineFailed
from store.policies import write_pointer
from store.records import Sampling
from tests.engine_parts import LONG, MARKED, SAY, WITH_NAN, Process, Site, serving, started, until_stopped

# Engines start on two cores that other tests may use too.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def processes(home: Path) -> Iterator[list[Process]]:
    """Two engines on version 1, started once."""
    with started(home, "engine-1", "engine-2") as engines:
        yield engines


@pytest.fixture
async def site(home: Path, processes: list[Process], redis_url: str) -> AsyncIterator[Site]:
    """Both engines seen, version 1 serves."""
    async with serving(home, processes, redis_url) as site:
        yield site


async def test_swaps_and_rollbacks_under_answers_drop_none_and_mix_none(site: Site) -> None:
    """`python -m bench.swaps` is the long form."""
    first, second, third = MARKED
    await site.activate(first)
    await site.settled(on=first)
    stop, begun = asyncio.Event(), set[int]()
    sampling = Sampling(max_tokens=60)
    asking = [asyncio.create_task(until_stopped(site, stop, sampling, begun)) for _ in range(8)]

    async def answered(number: int) -> float:
        begun.clear()
        took = await site.settled(on=number)
        while number not in begun:
            await asyncio.sleep(0.01)
        return took

    await answered(first)
    await site.activate(second, expected=first)
    await answered(second)
    await site.activate(third, expected=second)
    await answered(third)
    await site.policies.rollback("test", "worse")
    assert await answered(second) < 1, "the version before is warm"
    await site.policies.rollback("test", "worse too")
    await answered(first)
    stop.set()
    answers = [said for answers in await asyncio.gather(*asking) for said in answers]
    assert {said.lease.version for said in answers} == set(MARKED)
    for said in answers:
        assert said.lease.versions == (said.lease.version,)
        assert (said.end.finish_reason, said.end.response_tokens, len(said.text)) == ("length", 60, 60)
        assert set(said.text) <= set(LETTERS[said.lease.version - first])


async def test_a_rollback_gives_the_same_answers_as_before(site: Site) -> None:
    old = await site.said()
    await site.activate(2)
    await site.settled(on=2)
    assert all(a != b for a, b in zip(await site.said(), old, strict=True))
    await site.policies.rollback("test", "worse")
    assert await site.settled(on=1) < 1
    assert await site.said() == old


async def test_weights_with_nan_never_reach_an_engine(site: Site) -> None:
    before = [await engine.client.held() for engine in site.pool.engines]
    await site.activate(WITH_NAN)
    await moves.settle(site.pool, site.policies)
    refused = await site.policies.get(WITH_NAN)
    assert refused is not None
    assert refused.state == "rejected"
    assert "model.norm.weight" in (refused.reason or "")
    assert [await engine.client.held() for engine in site.pool.engines] == before
    await site.settled(on=1)


async def test_a_killed_engine_fails_its_answers_and_is_seen_again(
    site: Site, processes: list[Process]
) -> None:
    await site.activate(2)
    await site.settled(on=2)
    reloaded = await site.said()
    lease = await site.pool.lease(user="me")
    answer = site.pool.stream(lease, SAY, LONG)
    await anext(answer)
    victim = next(process for process in processes if process.name == lease.engine.name)
    write_pointer(site.home, "v0002")
    victim.kill()
    with pytest.raises(EngineFailed, match=victim.name):
        async for _ in answer:
            pass
    await lease.release()
    other = await site.pool.lease(user="me")
    assert other.version == 1, "the version before answers until the engine is back"
    await other.release()

    victim.start()
    await site.settled(on=2, engines=2, timeout_s=240)
    assert site.pool.served()[2] == victim.name
    assert await site.said() == reloaded, "a fresh engine says what a reloaded one does"


async def test_a_killed_engines_answer_goes_on_with_another_one_as_if_nothing_had_happened(
    site: Site, processes: list[Process]
) -> None:
    """Greedy, so that the whole text can be compared with what one engine says without a break."""
    record = await site.policies.get(1)
    assert record is not None
    for engine in site.pool.engines:
        if engine.version != 1:
            await swap(site.pool, engine, record, site.policies.folder(record))
    sampling = Sampling(max_tokens=700, temperature=0)
    lease = await site.pool.lease(user="me")
    other = next(engine for engine in site.pool.engines if engine is not lease.engine)
    unbroken = [delta async for delta in other.client.stream(SAY, sampling)]
    victim = next(process for process in processes if process.name == lease.engine.name)

    said, leases = [], []
    async for delta, current in speak(site.pool, lease, SAY, sampling, version=1, user="me"):
        said.append(delta)
        leases.append(current)
        if len(said) == 1:  # on a slow machine a piece may be many words
            victim.kill()
    assert [leases[0].engine.name, leases[-1].engine.name] == [lease.engine.name, other.name]
    assert "".join(delta.text for delta in said) == "".join(delta.text for delta in unbroken)
    assert said[-1] == unbroken[-1], "the end and the token counts are those of the whole answer"
