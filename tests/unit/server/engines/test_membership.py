"""Engines that join, drain and leave: what the pool makes of the registry."""

from __future__ import annotations

import pytest

from server.engines.membership import follow
from store.records import EngineMember, now
from tests.unit.server.engines.conftest import Site

pytestmark = pytest.mark.anyio


def member(name: str, port: int) -> EngineMember:
    return EngineMember(
        name=name, address=f"http://127.0.0.1:{port}", device="gpu0", actor="ann", joined_at=now()
    )


async def test_an_engine_joins_and_leaves(site: Site) -> None:
    pool = await site.start(1)
    await site.registry.join(member("far", 1))
    await follow(pool, site.registry, "token")
    assert [(one.name, one.device) for one in pool.engines] == [("engine-1", "here"), ("far", "gpu0")]
    await site.registry.leave("far", "ann")
    await follow(pool, site.registry, "token")
    assert [one.name for one in pool.engines] == ["engine-1"], "an engine of the settings stays"


async def test_an_engine_that_moved_is_another_engine(site: Site) -> None:
    pool = await site.start(1)
    await site.registry.join(member("far", 1))
    await follow(pool, site.registry, None)
    await site.registry.leave("far", "ann")
    await site.registry.join(member("far", 2))
    await follow(pool, site.registry, None)
    await follow(pool, site.registry, None)
    assert [one.client.address for one in pool.engines if one.joined] == ["http://127.0.0.1:2"]


async def test_an_engine_that_leaves_ends_its_answers_first(site: Site) -> None:
    pool = await site.start(2)
    lease = await pool.lease(user="me")
    lease.engine.joined = True
    await follow(pool, site.registry, None)
    assert lease.engine in pool.engines
    assert (await pool.lease(user="me")).engine is not lease.engine
    await lease.release()
    await follow(pool, site.registry, None)
    assert lease.engine not in pool.engines


async def test_a_drained_engine_gets_no_answers_and_no_version_until_it_is_resumed(site: Site) -> None:
    pool = await site.start(2)
    await site.registry.drain("engine-1", True, "ann")
    await follow(pool, site.registry, None)
    assert {(await pool.lease(user="me")).engine.name for _ in range(3)} == {"engine-2"}
    assert [status.draining for status in pool.statuses()] == [True, False]
    await site.registry.drain("engine-1", False, "ann")
    await follow(pool, site.registry, None)
    assert not pool.engines[0].leaving
    assert [status.draining for status in pool.statuses()] == [False, False]
