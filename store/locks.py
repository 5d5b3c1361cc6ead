"""Named locks, so that one process at a time does a thing; renewed while held, noticed when lost."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from store import keys
from store.connection import Redis, StoreUnavailable, available


class LockHeld(Exception):
    """Another process holds this lock, or has taken it over."""


# A lock that ran out while Redis was away, or this process asleep, is taken again if nobody else has it.
_RENEW = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_DROP = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

# PEXPIRE has LT for it since Redis 7.
_SHORTEN = """
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
"""


async def shorten(redis: Redis, key: str, ttl_s: float) -> None:
    """A key that was given `ttl_s` to live has no more than that left.

    Redis keeps the time of its end: after its clock was set back by hours it would stay that much longer.
    """
    with available():
        await redis.eval(_SHORTEN, 1, key, int(ttl_s * 1000))


@asynccontextmanager
async def hold(redis: Redis, name: str, ttl_s: float) -> AsyncIterator[None]:
    """Hold a named lock while the body runs.

    Raises LockHeld at once when it is taken, and cancels the body to raise LockHeld when it was lost (this
    process was frozen for longer than `ttl_s` and another one took over). StoreUnavailable at the start.
    """
    token, key, ttl_ms = secrets.token_hex(8), keys.lock(name), int(ttl_s * 1000)
    renew, drop = redis.register_script(_RENEW), redis.register_script(_DROP)
    with available():
        if not await redis.set(key, token, nx=True, px=ttl_ms):
            await shorten(redis, key, ttl_s)
            raise LockHeld(name)
    body, lost = asyncio.current_task(), False
    assert body is not None

    async def renew_for_ever() -> None:
        nonlocal lost
        while not lost:
            await asyncio.sleep(ttl_s / 3)
            with suppress(StoreUnavailable), available():  # while Redis is away nobody else can take it
                lost = not await renew(keys=[key], args=[token, ttl_ms])
        body.cancel()

    renewal = asyncio.create_task(renew_for_ever())
    try:
        yield
    except asyncio.CancelledError:
        if lost and body.uncancel() == 0:
            raise LockHeld(f"{name} was taken over") from None
        raise
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        with suppress(StoreUnavailable), available():  # it runs out by itself
            await drop(keys=[key], args=[token])
