"""The reconciler: twice a second, make what the engines hold equal to what should be active."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from server.engines.client import DRAINING, HELD, LOADING, Held
from server.engines.plan import Step, next_step
from server.engines.pool import Engine, EnginePool
from server.engines.swap import BadVersion, check_engine, swap
from server.errors import EngineFailed
from store.connection import StoreUnavailable
from store.policies import LockHeld, PointerMoved, Policies
from store.records import PolicyVersion

TICK_S = 0.5
REPORT_S = 1.0
START_S = 300.0
"""An engine that has not answered since this server's start is `starting` for this long, then `down`."""
SILENCES = 3
"""Health checks without any answer after which an engine counts as frozen; a busy machine may cost one."""
LOADS = 2
"""Engines that may fail on a version that never served before it is taken back."""
RETRY_S = 5.0
RETRY_MOST_S = 60.0
log = logging.getLogger("heed.engines")


async def run(pool: EnginePool, policies: Policies, server_id: str) -> None:
    """Reconcile until cancelled. Redis or an engine being away is waited out."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(pool, policies))
        group.create_task(_drive(pool, policies))
        group.create_task(_report(pool, policies, server_id))


async def _watch(pool: EnginePool, policies: Policies) -> None:
    """Every server: see how the engines are."""
    away = False
    while True:
        try:
            await look(pool, policies)
            away = False
        except StoreUnavailable as error:
            if not away:
                log.warning("the engines stay as they are until the store is back: %s", error)
            away = True
        await asyncio.sleep(TICK_S)


async def _drive(pool: EnginePool, policies: Policies) -> None:
    """One server at a time: move versions."""
    while True:
        with suppress(LockHeld, StoreUnavailable):
            async with policies.lock("engines"):
                pool.drives = True
                try:
                    while True:
                        await settle(pool, policies)
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

    Raises StoreUnavailable, after the engines were looked at all the same.
    """
    try:
        active = await policies.active()
        pool.wanted = active.number if active else None
    finally:
        seen = await asyncio.gather(
            *(_see(pool, policies, engine) for engine in pool.engines), return_exceptions=True
        )
        pool.route()
    for error in seen:
        if error is not None:
            raise error


async def _see(pool: EnginePool, policies: Policies, engine: Engine) -> None:
    if engine.busy:
        return
    problem = await _problem(engine)
    if engine.busy:
        return  # a swap began meanwhile and knows better
    if problem is not None:
        started = engine.state != "starting" or time.monotonic() - engine.absent_since > START_S
        if started and (engine.alive or engine.state != "down"):
            log.warning("%s is down: %s", engine.name, problem)
            pool.lost(engine, problem)
        return
    if engine.silences:
        return
    engine.alive = True
    try:
        held = await engine.client.held()
    except EngineFailed:
        return  # busy with a long step, or going down: health says which
    if engine.busy:
        return
    if held is None:
        # Being loaded by another server, or left so by one that died or gave up.
        pool.unsure(engine, "down" if engine.error else "loading", engine.error)
    elif engine.folder is None or engine.folder.name != held.folder:
        await _meet(pool, policies, engine, held)
    else:
        engine.draining = held.draining


async def _problem(engine: Engine) -> str | None:
    """Why the engine cannot be used, or None. Silence is counted: a busy machine is silent at times."""
    try:
        healthy = await engine.client.healthy()
    except TimeoutError:
        engine.silences += 1
        return "it does not answer" if engine.silences >= SILENCES else None
    engine.silences = 0
    return None if healthy else "nobody listens, or its core has died"


async def _meet(pool: EnginePool, policies: Policies, engine: Engine, held: Held) -> None:
    """An engine holds something else than this server knew: it has started, or another server swapped it."""
    records = {record.folder: record for record in await policies.versions()}
    record = records.get(held.folder)
    if record is None:
        pool.unsure(engine, engine.state, f"it holds {held.folder}, which the registry does not know")
        return
    if not held.checked:
        engine.busy = True
        try:
            await check_engine(engine.client, record)
            if pool.drives:
                await engine.client.label(HELD + held.folder)
        except (BadVersion, EngineFailed) as error:
            log.error("%s started on v%d and is not sound: %s", engine.name, record.number, error)
            pool.unsure(engine, "down", str(error))
            with suppress(EngineFailed):
                await engine.client.label(LOADING)  # to be loaded anew, not checked for ever
            return
        finally:
            engine.busy = False
    log.info("%s holds v%d", engine.name, record.number)
    pool.holds(engine, record, policies.folder(record))
    engine.draining = held.draining


async def settle(pool: EnginePool, policies: Policies) -> None:
    """One step towards the active version. Raises StoreUnavailable."""
    active = await policies.active()
    if active is None:
        return
    pool.wanted = active.number
    step = next_step(pool.engines, active.number, pool.serving, time.monotonic())
    try:
        await _drain(pool, step)
        if step is None or step.how == "drain":
            return
        # Another server may still speak on it.
        if step.how == "load" and await step.engine.client.in_flight() > 0:
            return
    except EngineFailed as error:
        log.warning("%s", error)
        return
    log.info("loading v%d into %s", active.number, step.engine.name)
    try:
        await swap(pool, step.engine, active, policies.folder(active))
        del pool.failed_loads[active.number]
        log.info("%s holds v%d", step.engine.name, active.number)
    except BadVersion as error:
        log.error("v%d must not serve: %s", active.number, error)
        if not await _take_back(policies, active, str(error)):
            _try_later(step.engine, str(error))
    except EngineFailed as error:
        log.error("%s failed on v%d: %s", step.engine.name, active.number, error)
        _try_later(step.engine, str(error))
        pool.failed_loads[active.number] += 1
        given_up = active.number not in pool.served() and pool.failed_loads[active.number] >= LOADS
        # One that served before is not to blame, its engines are.
        if given_up and sum(line.number == active.number for line in await policies.timeline()) == 1:
            await _take_back(policies, active, str(error))


async def _drain(pool: EnginePool, step: Step | None) -> None:
    """Tell every server which engine gets no new answers, and which one does again."""
    for engine in pool.engines:
        chosen = step is not None and step.engine is engine
        if chosen and step is not None and step.how != "drain":
            continue  # it is loaded right away
        if engine.state == "ready" and engine.folder and engine.draining != chosen:
            await engine.client.label((DRAINING if chosen else HELD) + engine.folder.name)
            engine.draining = chosen


def _try_later(engine: Engine, error: str) -> None:
    engine.failures += 1
    engine.error = error
    engine.retry_at = time.monotonic() + min(RETRY_MOST_S, RETRY_S * 2 ** (engine.failures - 1))


async def _take_back(policies: Policies, version: PolicyVersion, reason: str) -> bool:
    """A version that cannot serve: the pointer returns to the one before. False when there is none."""
    target = await policies.previous()
    if target is None:
        return False
    reason = f"v{version.number} failed its checks: {reason}"
    with suppress(PointerMoved):  # somebody else moved it already
        await policies.activate(target.number, "server", reason, expected=version.number, left_as="rejected")
    return True
