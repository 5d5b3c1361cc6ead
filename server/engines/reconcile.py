"""The reconciler: twice a second, make what the engines hold equal to what should be active."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from server.engines.client import HELD, LOADING, Held
from server.engines.engine import Engine
from server.engines.membership import follow
from server.engines.moves import carry_out, decide, wish_of
from server.engines.pool import EnginePool
from server.engines.swap import BadVersion, check_engine
from server.errors import EngineFailed
from store.connection import StoreUnavailable
from store.engines import EngineRegistry
from store.policies import LockHeld, Policies

TICK_S = 0.5
LOOK_S = 1.0
"""Longest wait for an engine before the others are looked at again."""
REPORT_S = 1.0
START_S = 300.0
"""An engine that has not answered since this server's start is `starting` for this long, then `down`."""
SILENCES = 3
"""Health checks without any answer after which an engine counts as frozen; a busy machine may cost one."""
log = logging.getLogger("heed.engines")


async def run(
    pool: EnginePool, policies: Policies, registry: EngineRegistry, server_id: str, token: str | None = None
) -> None:
    """Reconcile until cancelled. Redis or an engine being away is waited out."""
    pool.name = server_id
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_watch(pool, policies, registry, token))
            group.create_task(_drive(pool, policies))
            group.create_task(_report(pool, policies, server_id))
    finally:
        looks = [engine.seeing for engine in pool.engines if engine.seeing is not None]
        for look_ in looks:
            look_.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def _watch(pool: EnginePool, policies: Policies, registry: EngineRegistry, token: str | None) -> None:
    """Every server: see which engines there are and how they are."""
    away = False
    while True:
        try:
            await look(pool, policies)
            await follow(pool, registry, token)
            away = False
        except StoreUnavailable as error:
            if not away:
                log.warning("the engines stay as they are until the store is back: %s", error)
            away = True
        await asyncio.sleep(TICK_S)


async def _drive(pool: EnginePool, policies: Policies) -> None:
    """One server at a time: move versions. Each step is a task: a slow engine holds nothing else up."""
    while True:
        with suppress(LockHeld, StoreUnavailable):
            async with policies.lock("engines"):
                pool.drives = True
                try:
                    async with asyncio.TaskGroup() as steps:
                        while True:
                            with suppress(StoreUnavailable):
                                for step in await decide(pool, policies):
                                    steps.create_task(carry_out(pool, policies, step))
                            await asyncio.sleep(TICK_S)
                finally:
                    pool.drives = False
        await asyncio.sleep(TICK_S)


async def _report(pool: EnginePool, policies: Policies, server_id: str) -> None:
    """Tell the store what this server gives to new answers and how its engines are."""
    while True:
        with suppress(StoreUnavailable):
            await policies.report_engines(server_id, pool.statuses())
            if pool.serving in pool.served():
                assert pool.serving is not None
                await policies.report_serving(server_id, pool.serving)
        await asyncio.sleep(REPORT_S)


async def look(pool: EnginePool, policies: Policies) -> None:
    """See which version should serve, which engines answer, and what each one holds.

    An engine that is slow to answer, or is being checked, is looked at on: the next look does not wait for it
    either. Raises StoreUnavailable, after the engines were looked at all the same.
    """
    try:
        await wish_of(pool, policies)
    finally:
        for engine in pool.engines:
            if engine.seeing is None or engine.seeing.done():
                engine.seeing = asyncio.create_task(_see(pool, policies, engine))
        looks = [engine.seeing for engine in pool.engines if engine.seeing is not None]
        done, _ = await asyncio.wait(looks, timeout=LOOK_S) if looks else (set(), None)
        pool.route()
    for seen in done:
        seen.result()


async def _see(pool: EnginePool, policies: Policies, engine: Engine) -> None:
    with suppress(StoreUnavailable):  # the next look says it
        await _look_at(pool, policies, engine)
        pool.route()


async def _look_at(pool: EnginePool, policies: Policies, engine: Engine) -> None:
    if engine.busy:
        return
    swaps = engine.swaps
    problem = await _problem(engine)
    if engine.swaps != swaps:
        return  # a swap began meanwhile and knows better
    if problem is not None:
        started = engine.state != "starting" or time.monotonic() - engine.absent_since > START_S
        if started and (engine.alive or engine.state != "down"):
            log.warning("%s is down: %s", engine.name, problem)
            pool.lost(engine, problem)
        return
    if engine.silences:
        return
    try:
        held = await engine.client.held()
    except EngineFailed:
        return  # busy with a long step, or going down: health says which
    if engine.swaps != swaps:
        return
    engine.alive = True
    if held is None:
        # Being loaded by another server, or left so by one that died or gave up.
        pool.unsure(engine, "down" if engine.error else "loading", engine.error)
    elif engine.folder is None or engine.folder.name != held.folder:
        engine.busy = True  # nobody loads it before it is known
        try:
            await _meet(pool, policies, engine, held)
        finally:
            engine.busy = False
    elif not pool.drives:  # which knows better what it has just said
        engine.draining = held.draining


async def _problem(engine: Engine) -> str | None:
    """Why the engine cannot be used, or None. Silence is counted: a busy machine is silent at times."""
    try:
        healthy = await engine.client.healthy()
    except TimeoutError:
        engine.silences += 1
        return "it does not answer" if engine.silences >= SILENCES else None
    engine.silences = 0
    return None if healthy else engine.client.why


async def _meet(pool: EnginePool, policies: Policies, engine: Engine, held: Held) -> None:
    """An engine holds something else than this server knew: it has started, or another server swapped it."""
    records = {record.folder: record for record in await policies.versions()}
    record = records.get(held.folder)
    if record is None:
        pool.unsure(engine, engine.state, f"it holds {held.folder}, which the registry does not know")
        return
    if not held.checked:
        try:
            await engine.client.compare(policies.folder(record), fresh=True)
            await check_engine(engine.client, record)
            if pool.drives:
                await engine.client.label(HELD + held.folder)
        except (BadVersion, EngineFailed) as error:
            log.error("%s started on v%d and is not sound: %s", engine.name, record.number, error)
            pool.unsure(engine, "down", str(error))
            with suppress(EngineFailed):
                await engine.client.label(LOADING)  # to be loaded anew, not checked for ever
            return
    log.info("%s holds v%d", engine.name, record.number)
    pool.holds(engine, record, policies.folder(record))
    engine.draining = held.draining
