"""Routing: devices balanced, engines of one packed, a conversation at home, a rolling swap's overflow."""

from __future__ import annotations

from collections import Counter

import pytest

from server.engines import routing
from server.engines.client import EngineClient
from server.engines.engine import Engine, Lease
from server.engines.pool import EnginePool
from server.errors import VersionNotServed

pytestmark = pytest.mark.anyio


def fleet(*devices: str, versions: tuple[int, ...] = ()) -> EnginePool:
    """An engine for each device, all ready."""
    clients = [EngineClient(f"e{n}", f"unix:///e{n}", device) for n, device in enumerate(devices)]
    pool = EnginePool(clients, max_model_len=64, places=10_000)
    for engine, version in zip(pool.engines, versions or (1,) * len(devices), strict=True):
        engine.state, engine.version = "ready", version
    pool.serving = pool.wanted = pool.engines[0].version
    return pool


def busy(engine: Engine, answers: int) -> None:
    engine.leases |= {Lease(engine, engine.version or 0, "they") for _ in range(answers)}


async def homes(pool: EnginePool, conversations: int = 300) -> dict[str, str]:
    """Conversation -> the engine that its answer got; no answer stays under way."""
    found = {}
    for number in range(conversations):
        lease = await pool.lease(user="me", affinity=f"conv_{number}")
        found[f"conv_{number}"] = lease.engine.name
        await lease.release()
    return found


async def test_devices_are_balanced_and_engines_of_one_device_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "BATCH", 4)
    pool = fleet("gpu0", "gpu0", "gpu1")
    leases = [await pool.lease(user="me") for _ in range(10)]
    assert Counter(lease.engine.name for lease in leases) == {"e0": 4, "e1": 1, "e2": 5}


async def test_a_conversation_comes_back_to_the_engine_with_its_cache() -> None:
    pool = fleet("gpu0", "gpu1", "gpu2")
    before = await homes(pool)
    assert before == await homes(pool)
    assert before == await homes(fleet("gpu0", "gpu1", "gpu2")), "every server finds the same"
    assert min(Counter(before.values()).values()) > 60, "and they are spread"


async def test_few_conversations_move_when_an_engine_joins_or_leaves() -> None:
    before = await homes(fleet("gpu0", "gpu1", "gpu2"))
    after = await homes(fleet("gpu0", "gpu1", "gpu2", "gpu3"))
    moved = {name for name in before if before[name] != after[name]}
    assert all(after[name] == "e3" for name in moved)
    assert 0 < len(moved) < 120


async def test_a_conversation_leaves_a_home_that_is_much_fuller() -> None:
    pool = fleet("gpu0", "gpu1")
    home = (await pool.lease(user="me", affinity="conv_1")).engine
    busy(home, routing.LEAN - 1)
    assert (await pool.lease(user="me", affinity="conv_1")).engine is home
    assert (await pool.lease(user="me", affinity="conv_1")).engine is not home


async def test_a_rolling_swap_gives_the_new_version_and_overflows_to_the_one_before() -> None:
    pool = fleet("gpu0", "gpu1", "gpu2", versions=(2, 1, 1))
    pool.previous = 1
    leases = [await pool.lease(user="me") for _ in range(routing.BATCH + 3)]
    assert {lease.version for lease in leases[: routing.BATCH]} == {2}
    assert {lease.version for lease in leases[routing.BATCH :]} == {1}
    assert (await pool.lease(2, user="me")).version == 2, "who names a version gets it"
    pool.engines[1].draining = True
    assert (await pool.lease(user="me")).version == 2, "one engine keeps the version before for a rollback"


async def test_after_a_rollback_nothing_overflows_to_the_bad_version() -> None:
    pool = fleet("gpu0", "gpu1", "gpu2", versions=(1, 2, 2))
    pool.previous = None  # v2 was rolled back
    leases = [await pool.lease(user="me") for _ in range(routing.BATCH + 3)]
    assert {lease.version for lease in leases} == {1}


async def test_the_canary_is_for_those_who_ask_for_it() -> None:
    pool = fleet("gpu0", "gpu1", versions=(1, 2))
    assert pool.canary is None
    pool.trial = 2
    assert pool.canary == 2
    assert {(await pool.lease(user="me")).version for _ in range(20)} == {1}
    assert (await pool.lease(2, user="me", affinity="conv_1")).version == 2
    pool.lost(pool.engines[1], "killed")
    assert pool.canary is None
    with pytest.raises(VersionNotServed):
        await pool.lease(2, user="me")
    assert (await pool.lease(user="me")).version == 1


async def test_when_only_the_canary_is_left_it_answers() -> None:
    pool = fleet("gpu0", "gpu1", "gpu2", versions=(2, 3, 1))
    pool.trial = 3
    pool.lost(pool.engines[0], "killed")
    assert pool.serving == 1, "an older version rather than the canary"
    pool.lost(pool.engines[2], "killed")
    assert pool.serving == 3


async def test_an_engine_that_is_to_be_swapped_gives_no_old_version_any_more() -> None:
    pool = fleet("gpu0", "gpu1", versions=(2, 1))
    assert (await pool.lease(1, user="me")).version == 1
    pool.engines[1].draining = True
    with pytest.raises(VersionNotServed):
        await pool.lease(1, user="me")
