"""The moves: which engines are drained and loaded now, and what follows when a load fails."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from server.engines.client import DRAINING, HEALTH_TIMEOUT_S, HELD
from server.engines.engine import Engine
from server.engines.plan import Step, Wish, next_steps
from server.engines.pool import EnginePool
from server.engines.swap import BadVersion, check_folder, swap
from server.errors import EngineFailed
from store.connection import StoreUnavailable
from store.policies import CanaryRefused, PointerMoved, Policies
from store.records import PolicyVersion

SEEN_S = 1.5
"""Time after which every server has looked at an engine."""
ENDED_AFTER = 3
"""Failed loads in a row after which an engine's process is ended."""
LOADS = 2
"""Engines that may fail on a version that never served before it is taken back."""
RETRY_S = 5.0
RETRY_MOST_S = 60.0
log = logging.getLogger("heed.engines")


async def wish_of(pool: EnginePool, policies: Policies) -> Wish | None:
    """What the registry says should be held; None before the first version. Raises StoreUnavailable."""
    active, canary = await policies.active(), await policies.canary()
    if active is None:
        return None
    if pool.wanted != active.number:
        previous = await policies.previous()
        pool.previous = previous.number if previous else None
    pool.wanted = active.number
    pool.trial = canary.number if canary else None
    share = canary.share if canary else 0.0
    return Wish(active.number, pool.trial, share, pool.previous, pool.max_unavailable)


async def settle(pool: EnginePool, policies: Policies) -> None:
    """The steps that may be done now, until they are done. Raises StoreUnavailable."""
    steps = await decide(pool, policies)
    await asyncio.gather(*(carry_out(pool, policies, step) for step in steps))


async def decide(pool: EnginePool, policies: Policies) -> list[Step]:
    """The engines to load now; tells every server which ones get no new answers. Raises StoreUnavailable."""
    wish = await wish_of(pool, policies)
    if wish is None:
        return []
    steps = next_steps(pool.engines, wish, pool.serving, time.monotonic())
    for number in sorted({step.version for step in steps}):
        if not await _sound(pool, policies, number, [one.engine for one in steps if one.version == number]):
            return []
    ready = []
    for step in steps:
        with suppress(EngineFailed):  # its health says more
            if step.how == "hold" or await _drained(pool, policies, step.engine):
                step.engine.busy, step.engine.target = True, step.version
                step.engine.swaps += 1
                ready.append(step)
    chosen = [step.engine for step in steps]
    for engine in pool.engines:
        if engine not in chosen:
            with suppress(EngineFailed):
                await _drain(engine, False)
    return ready


async def _sound(pool: EnginePool, policies: Policies, number: int, engines: list[Engine]) -> bool:
    """Whether engines may see the version. One that may not is taken back before any engine is disturbed."""
    version = await policies.get(number)
    assert version is not None, "versions are never removed"
    try:
        await check_folder(pool, version, policies.folder(version))
    except BadVersion as error:
        log.error("v%d must not serve: %s", number, error)
        if not await _take_back(policies, version, str(error)):
            for engine in engines:
                _try_later(engine, str(error))
        return False
    return True


async def _drained(pool: EnginePool, policies: Policies, engine: Engine) -> bool:
    """Whether no server speaks on the engine, now that all know that it gets no new answers."""
    if engine.version is None:
        return True
    await _drain(engine, True)
    others = any(server != pool.name for server in await policies.serving())
    if others and time.monotonic() - engine.drained_at < SEEN_S:
        return False
    return await engine.client.in_flight() == 0 and not engine.leases


async def _drain(engine: Engine, draining: bool) -> None:
    if engine.state != "ready" or engine.folder is None or engine.busy or engine.draining == draining:
        return
    engine.draining = draining  # for this server at once, for the others when they look
    engine.drained_at = time.monotonic()
    try:
        label = (DRAINING if draining else HELD) + engine.folder.name
        await engine.client.label(label, timeout_s=HEALTH_TIMEOUT_S)
    except EngineFailed:
        engine.draining = not draining
        raise


async def carry_out(pool: EnginePool, policies: Policies, step: Step) -> None:
    """Load the step's version into its engine. What goes wrong is written to the registry or tried again."""
    engine = step.engine
    try:
        version = await policies.get(step.version)
        assert version is not None, "versions are never removed"
        await _load(pool, policies, engine, version)
    except StoreUnavailable as error:
        log.warning("%s waits for the store: %s", engine.name, error)
    finally:
        engine.busy, engine.target = False, None


async def _load(pool: EnginePool, policies: Policies, engine: Engine, version: PolicyVersion) -> None:
    log.info("loading v%d into %s", version.number, engine.name)
    try:
        await swap(pool, engine, version, policies.folder(version))
        del pool.failed_loads[version.number]
        log.info("%s holds v%d", engine.name, version.number)
    except BadVersion as error:
        log.error("v%d must not serve: %s", version.number, error)
        # What others serve soundly is not to blame.
        if version.number in pool.served() or not await _take_back(policies, version, str(error)):
            _try_later(engine, str(error))
    except EngineFailed as error:
        log.error("%s failed on v%d: %s", engine.name, version.number, error)
        _try_later(engine, str(error))
        if engine.failures % ENDED_AFTER == 0:
            log.error("%s is ended, for its supervisor to start it anew", engine.name)
            await engine.client.end_process()
        pool.failed_loads[version.number] += 1
        given_up = version.number not in pool.served() and pool.failed_loads[version.number] >= LOADS
        # One that served before is not to blame, its engines are.
        if given_up and sum(line.number == version.number for line in await policies.timeline()) <= 1:
            await _take_back(policies, version, str(error))


def _try_later(engine: Engine, error: str) -> None:
    engine.failures += 1
    engine.error = error
    engine.retry_at = time.monotonic() + min(RETRY_MOST_S, RETRY_S * 2 ** (engine.failures - 1))


async def _take_back(policies: Policies, version: PolicyVersion, reason: str) -> bool:
    """A version that cannot serve is rejected: the canary ends, or the pointer returns to the version before.

    False when there is none.
    """
    reason = f"v{version.number} failed its checks: {reason}"
    canary = await policies.canary()
    if canary is not None and canary.number == version.number:
        with suppress(CanaryRefused):  # somebody else ended it already
            await policies.end_canary("rejected", "server", reason)
        return True
    target = await policies.previous()
    if target is None:
        return False
    with suppress(PointerMoved):  # somebody else moved it already
        await policies.activate(target.number, "server", reason, expected=version.number, left_as="rejected")
    return True
