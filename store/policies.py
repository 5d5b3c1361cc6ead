"""The policy registry: numbered versions, the one pointer to the active one, and who serves what."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from store import keys
from store.connection import Redis, available
from store.records import Activation, EngineStatus, PolicyState, PolicyVersion, now

REPORT_TTL_S = 15


class NothingToRollBackTo(Exception):
    """No version was active before this one."""


class PointerMoved(Exception):
    """The active version is not the expected one: somebody else activated or rolled back meanwhile."""


class LockHeld(Exception):
    """Another process holds this lock."""


# KEYS: policies, active, timeline, feed.
# ARGV: number, expected or '', activation json, new json, old number, old json.
_ACTIVATE = """
local active = redis.call('GET', KEYS[2]) or ''
if ARGV[2] ~= active then return active == '' and 'none' or active end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], ARGV[5], ARGV[6]) end
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', '2000', '*', 'event', 'policy', 'data', ARGV[3])
return 'ok'
"""

# KEYS: numbers, counter. ARGV: run id.
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""

_MINE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
_RENEW_LOCK = _MINE + "return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_DROP_LOCK = _MINE + "return redis.call('DEL', KEYS[1])"


class Policies:
    """Reads and writes the registry. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._volume = volume
        self._activate = redis.register_script(_ACTIVATE)
        self._number = redis.register_script(_NUMBER)
        self._renew_lock = redis.register_script(_RENEW_LOCK)
        self._drop_lock = redis.register_script(_DROP_LOCK)

    def folder(self, version: PolicyVersion) -> Path:
        """Where the version's weights are."""
        return self._volume / "policies" / version.folder

    async def number_for_run(self, run_id: str) -> int:
        """The version number of this run: the same at every call."""
        with available():
            return int(await self._number(keys=[keys.POLICY_NUMBERS, keys.POLICY_COUNTER], args=[run_id]))

    async def register(self, version: PolicyVersion) -> None:
        """Enter a sealed version; again with the same digest is no change."""
        with available():
            await self._redis.hset(keys.POLICIES, str(version.number), version.model_dump_json())
            counter = int(await self._redis.get(keys.POLICY_COUNTER) or 0)
            if counter < version.number:
                await self._redis.set(keys.POLICY_COUNTER, version.number)

    async def get(self, number: int) -> PolicyVersion | None:
        with available():
            text = await self._redis.hget(keys.POLICIES, str(number))
        return PolicyVersion.model_validate_json(text) if text else None

    async def versions(self) -> list[PolicyVersion]:
        """Newest first."""
        with available():
            texts = await self._redis.hvals(keys.POLICIES)
        return sorted(map(PolicyVersion.model_validate_json, texts), key=lambda version: -version.number)

    async def active(self) -> PolicyVersion | None:
        """The version that should answer (what does answer is `serving`)."""
        with available():
            number = await self._redis.get(keys.POLICY_ACTIVE)
        return await self.get(int(number)) if number else None

    async def timeline(self, limit: int = 200) -> list[Activation]:
        """What was active when, and why; newest first."""
        with available():
            texts = await self._redis.lrange(keys.POLICY_TIMELINE, 0, limit - 1)
        return [Activation.model_validate_json(text) for text in texts]

    async def previous(self) -> PolicyVersion | None:
        """The version that a rollback returns to: the one active before, unless it was taken back itself."""
        active = await self.active()
        if active is None:
            return None
        for activation in await self.timeline():
            if activation.number == active.number and activation.previous is not None:
                candidate = await self.get(activation.previous)
                if candidate is not None and candidate.state not in ("rejected", "rolled_back"):
                    return candidate
        return None

    async def set_state(self, number: int, state: PolicyState, reason: str | None = None) -> None:
        """Change a version's state; the feed says so."""
        version = await self.get(number)
        if version is None:
            raise KeyError(f"there is no version {number}")
        changed = version.model_copy(update={"state": state, "reason": reason}).model_dump_json()
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(keys.POLICIES, str(number), changed)
                entry = {"event": "policy", "data": changed}
                pipe.xadd(keys.FEED, entry, maxlen=2000, approximate=True)
                await pipe.execute()

    async def activate(
        self,
        number: int,
        actor: str,
        reason: str,
        *,
        expected: int | None,
        left_as: PolicyState = "retired",
    ) -> Activation:
        """Move the pointer from `expected` to `number`; the version that was active becomes `left_as`.

        Raises PointerMoved when the active version is not `expected`, KeyError for an unknown number.
        """
        version = await self.get(number)
        if version is None:
            raise KeyError(f"there is no version {number}")
        old = await self.get(expected) if expected is not None else None
        at = now()
        activation = Activation(number=number, previous=expected, actor=actor, reason=reason, at=at)
        left = old.model_copy(update={"state": left_as, "reason": reason}) if old else None
        entered = version.model_copy(update={"state": "active", "reason": None})
        with available():
            verdict = await self._activate(
                keys=[keys.POLICIES, keys.POLICY_ACTIVE, keys.POLICY_TIMELINE, keys.FEED],
                args=[
                    number,
                    "" if expected is None else expected,
                    activation.model_dump_json(),
                    entered.model_dump_json(),
                    old.number if old else "",
                    left.model_dump_json() if left else "",
                ],
            )
        if verdict != "ok":
            raise PointerMoved(f"active is {verdict}, not {expected}")
        await asyncio.to_thread(write_pointer, self._volume, version.folder)
        return activation

    async def rollback(self, actor: str, reason: str) -> Activation:
        """Back to the version that was active before. Raises NothingToRollBackTo."""
        active, target = await self.active(), await self.previous()
        if active is None or target is None:
            raise NothingToRollBackTo("no version was active before this one")
        return await self.activate(
            target.number, actor, reason, expected=active.number, left_as="rolled_back"
        )

    async def report_serving(self, server_id: str, number: int) -> None:
        """Say which version this server gives to new answers; repeat within 15 s."""
        with available():
            await self._redis.set(keys.serving(server_id), number, ex=REPORT_TTL_S)

    async def serving(self) -> dict[str, int]:
        """Server id -> version that it gives to new answers."""
        prefix = keys.serving("")
        with available():
            names = [key async for key in self._redis.scan_iter(match=prefix + "*")]
            values = await self._redis.mget(names) if names else []
        return {
            name.removeprefix(prefix): int(value) for name, value in zip(names, values, strict=True) if value
        }

    async def report_engines(self, server_id: str, statuses: list[EngineStatus]) -> None:
        data = json.dumps([status.model_dump(mode="json") for status in statuses])
        with available():
            await self._redis.set(keys.engines(server_id), data, ex=REPORT_TTL_S)

    async def engines(self) -> list[EngineStatus]:
        """The engines as the servers see them, each engine once."""
        with available():
            names = [key async for key in self._redis.scan_iter(match=keys.engines("*"))]
            texts = await self._redis.mget(names) if names else []
        found: dict[str, EngineStatus] = {}
        for text in filter(None, texts):
            for row in json.loads(text):
                status = EngineStatus.model_validate(row)
                found[status.name] = status
        return sorted(found.values(), key=lambda status: status.name)

    @asynccontextmanager
    async def lock(self, name: str, ttl_s: float = 10) -> AsyncIterator[None]:
        """Hold a named lock, renewed in the background. Raises LockHeld at once when it is taken."""
        token = secrets.token_hex(8)
        key, ttl_ms = keys.lock(name), int(ttl_s * 1000)
        with available():
            if not await self._redis.set(key, token, nx=True, px=ttl_ms):
                raise LockHeld(name)

        async def renew() -> None:
            while True:
                await asyncio.sleep(ttl_s / 3)
                with suppress(Exception):  # Redis away: the lock runs out by itself and is taken anew
                    await self._renew_lock(keys=[key], args=[token, ttl_ms])

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(Exception):
                await self._drop_lock(keys=[key], args=[token])


def write_pointer(volume: Path, folder: str) -> None:
    """Make `policies/ACTIVE` name this folder: an engine that starts loads it."""
    target = volume / "policies" / "ACTIVE"
    aside = target.with_name(f".tmp-{secrets.token_hex(6)}")
    with open(aside, "w") as file:
        file.write(folder + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_pointer(volume: Path) -> Path | None:
    """The folder that `policies/ACTIVE` names, or None when nothing was activated yet."""
    try:
        name = (volume / "policies" / "ACTIVE").read_text().strip()
    except FileNotFoundError:
        return None
    return volume / "policies" / name
