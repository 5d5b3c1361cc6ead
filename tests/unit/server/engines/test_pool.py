"""The pool: who gets which engine, and how an answer ends when its engine does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from server.engines import client, completion, pool, routing
from server.engines.client import Delta
from server.errors import EngineFailed, NoEngine, Problem, VersionNotServed
from store.records import ChatTurn, Sampling
from tests.unit.server.engines.conftest import Site

pytestmark = pytest.mark.anyio

SAY = [ChatTurn(role="user", content="one two three")]
TWO = Sampling(max_tokens=2)


async def rest(answer: AsyncGenerator[Delta, None]) -> list[Delta]:
    return [delta async for delta in answer]


async def test_one_batch_is_filled_before_the_next_engine_gets_answers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "BATCH", 2)
    engines = await site.start(2)
    leases = [await engines.lease(user=f"user-{number}") for number in range(6)]
    assert [lease.engine.name[-1] for lease in leases[:4]] == ["1", "1", "2", "2"]
    assert {lease.engine.name[-1] for lease in leases[4:]} == {"1", "2"}  # both are full: the emptier one
    for lease in leases[:2] + leases[3:]:
        await lease.release()
    assert (await engines.lease(user="me")).engine is leases[2].engine  # has the fuller batch, and room
    leases[2].engine.draining = True
    assert (await engines.lease(user="me")).engine is leases[0].engine


async def test_a_version_that_nobody_holds_is_not_served(site: Site) -> None:
    pool = await site.start(1)
    assert (await pool.lease(1, user="me")).version == 1
    with pytest.raises(VersionNotServed, match="v7"):
        await pool.lease(7, user="me")


async def test_free_places_are_given_all_together_or_not_at_all(site: Site) -> None:
    pool = await site.start(1)
    changes: list[int] = []
    pool.changed = lambda: changes.append(1)
    mine = pool.try_leases([None] * 7, user="me")
    assert mine is not None
    assert pool.try_leases([None, 1], user="you") is None
    assert len(pool.engines[0].leases) == 7
    assert not changes, "places that were only looked at are no news"
    await mine[0].release()
    await mine[0].release()
    assert len(changes) == 1
    assert pool.try_leases([None, 1], user="you") is not None
    await mine[1].release()
    with pytest.raises(VersionNotServed):
        pool.try_leases([None, 7], user="you")
    assert len(pool.engines[0].leases) == 7


async def test_an_answer_that_was_admitted_gets_an_engine_beyond_its_places(site: Site) -> None:
    pool = await site.start(1)
    assert pool.try_leases([None] * 8, user="me") is not None
    assert (await pool.lease(1, user="me")).version == 1


async def test_a_request_holds_only_what_is_allowed(site: Site) -> None:
    pool = await site.start(1)
    site.engines[0].gate.set()
    sampling = Sampling(max_tokens=2, temperature=0.5, top_p=0.9, seed=-1, stop=("x",))
    deltas = await rest(pool.stream(await pool.lease(user="me"), SAY, sampling))
    assert "".join(delta.text for delta in deltas) == "v0001 v0001 "
    assert deltas[-1] == Delta("", "length", 3, 2)
    assert site.engines[0].bodies == [
        {
            "model": "policy",
            "messages": [{"role": "user", "content": "one two three"}],
            "max_tokens": 2,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 2**63 - 1,
            "stop": ["x"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert await pool.count_tokens(SAY) == 3


async def test_closing_an_answer_ends_it_in_the_engine(site: Site) -> None:
    pool = await site.start(1)
    answer = pool.stream(await pool.lease(user="me"), SAY, TWO)
    await anext(answer)
    assert site.engines[0].in_flight == 1
    await answer.aclose()
    async with asyncio.timeout(1):
        while site.engines[0].in_flight:
            await asyncio.sleep(0.01)


async def test_a_killed_engine_ends_its_answers_and_gets_no_new_ones(site: Site) -> None:
    pool = await site.start(2)
    lease = await pool.lease(user="me")
    answer = pool.stream(lease, SAY, TWO)
    await anext(answer)
    victim = next(engine for engine in site.engines if engine.socket.stem == lease.engine.name)
    await victim.die()
    with pytest.raises(EngineFailed, match=lease.engine.name):
        await rest(answer)
    assert {status.name: status.state for status in pool.statuses()}[lease.engine.name] == "down"
    assert (await pool.lease(user="me")).engine is not lease.engine


async def test_a_frozen_engine_is_given_up_and_its_answers_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "HEALTH_TIMEOUT_S", 0.05)
    pool = await site.start(1)
    answer = pool.stream(await pool.lease(user="me"), SAY, TWO)
    await anext(answer)
    waiting = asyncio.create_task(anext(answer))
    site.engines[0].silent = True
    await site.step()
    assert pool.served(), "two silences may be a busy machine"
    await site.step()
    assert not pool.served()
    with pytest.raises(EngineFailed):
        await waiting
    with pytest.raises(NoEngine):
        await pool.lease(user="me")
    site.engines[0].silent = False
    await site.step()
    assert pool.served() == {1: "engine-1"}


async def test_a_lease_waits_for_the_lone_engine_that_is_loading(site: Site) -> None:
    pool = await site.start(1)
    engine = pool.engines[0]
    record, folder = engine.record, engine.folder
    assert record is not None
    assert folder is not None
    pool.unsure(engine, "loading")
    waiting = asyncio.create_task(pool.lease(user="me"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    pool.holds(engine, record, folder)
    assert (await waiting).version == 1


async def test_a_lease_does_not_wait_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SWAP_PATIENCE_S", 0.02)
    engines = await site.start(1)
    engines.unsure(engines.engines[0], "loading")
    with pytest.raises(NoEngine):
        await engines.lease(user="me")


async def test_a_prompt_beyond_the_context_is_the_callers_fault() -> None:
    text = '{"error": {"message": "This model\'s maximum context length is 2048 tokens."}}'
    refused = completion.refusal(400, text)
    assert isinstance(refused, Problem)
    assert refused.kind == "too_long"
    assert isinstance(completion.refusal(500, text), EngineFailed)
