"""The reconciler: once a second, make what the engines hold equal to what should be active."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from server.engines.pool import Engine, EnginePool
from server.engines.swap import BadVersion, swap
from server.errors import EngineFailed
from store.connection import StoreUnavailable
from store.policies import LockHeld, NothingToRollBackTo, PointerMoved, Policies
from store.records import PolicyVersion

TICK_S = 0.5
START_S = 300
log = logging.getLogger("heed.engines")


async def run(pool: EnginePool, policies: Policies, server_id: str) -> None:
    """Reconcile until cancelled. Redis or an engine being away is waited out."""
    while True:
        try:
            await look(pool, policies)
            with suppress(LockHeld):
                async with policies.lock("engines"):
                    while True:
                        await look(pool, policies)
                        await settle(pool, policies)
                        await report(pool, policies, server_id)
                        await asyncio.sleep(TICK_S)
            await report(pool, policies, server_id)
        except StoreUnavailable as error:
            log.warning("reconciler waits: %s", error)
        await asyncio.sleep(TICK_S)


async def look(pool: EnginePool, policies: Policies) -> None:
    """See which engines answer, and which version each one says it holds."""
    versions = {version.folder: version for version in await policies.versions()}
    for engine in pool.engines:
        try:
            if not await engine.client.healthy():
                raise EngineFailed("the engine does not answer")
            held = await engine.client.held_folder()
        except EngineFailed as error:
            if engine.state != "starting" or time.monotonic() - pool.opened_at > START_S:
                pool.lost(engine, str(error))
            continue
        version = versions.get(held or "")
        if engine.state != "ready" or engine.version != (version.number if version else None):
            log.info("%s holds %s", engine.name, held)
        engine.version = version.number if version else None
        engine.folder = policies.folder(version) if version else None
        engine.state, engine.error = "ready", None
    active = await policies.active()
    held_versions = set(pool.served())
    if active and active.number in held_versions:
        pool.serving = active.number
    elif held_versions and pool.serving not in held_versions:
        # The version that served is gone with its engine: whatever is there answers until the swap.
        pool.serving = max(held_versions)


async def settle(pool: EnginePool, policies: Policies) -> None:
    """One step towards the active version: load it where nobody is disturbed."""
    active = await policies.active()
    if active is None:
        return
    ready = [engine for engine in pool.engines if engine.state == "ready"]
    if any(engine.version == active.number for engine in ready):
        return
    engine = _to_swap(pool, ready)
    if engine is None:
        return
    log.info("loading v%d into %s", active.number, engine.name)
    try:
        held = next((one.folder for one in pool.engines if one.folder), None)
        await swap(engine, active, policies.folder(active), like=held)
        pool.serving = active.number
        log.info("%s serves v%d", engine.name, active.number)
    except BadVersion as error:
        log.error("v%d must not serve: %s", active.number, error)
        await _take_back(policies, active, str(error))
    except EngineFailed as error:
        log.error("%s failed while loading v%d: %s", engine.name, active.number, error)
        pool.lost(engine, str(error))
        await _take_back(policies, active, str(error))


def _to_swap(pool: EnginePool, ready: list[Engine]) -> Engine | None:
    """The engine to load: one that serves nobody. A lone engine is loaded with its answers held."""
    expected = [engine for engine in pool.engines if engine.state != "down"]
    if len(expected) == 1:
        return ready[0] if ready else None
    spare = [engine for engine in ready if engine.version != pool.serving]
    if not spare and len(ready) > 1:
        # All hold the serving version (after a start): the last one makes room, the others go on.
        spare = ready[-1:]
        spare[0].draining = True
    silent = [engine for engine in spare if not engine.leases]
    return silent[0] if silent else None


async def _take_back(policies: Policies, version: PolicyVersion, reason: str) -> None:
    """A version that cannot serve: the pointer returns to the one before, the version is marked."""
    with suppress(NothingToRollBackTo, PointerMoved):
        await policies.rollback("server", f"v{version.number} failed its checks: {reason}")
        await policies.set_state(version.number, "rejected", reason)


async def report(pool: EnginePool, policies: Policies, server_id: str) -> None:
    """Tell the store what this server gives to new answers and how its engines are."""
    if pool.serving is not None and pool.served():
        await policies.report_serving(server_id, pool.serving)
    await policies.report_engines(server_id, pool.statuses())
