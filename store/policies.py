"""The policy registry: numbered versions, the one pointer to the active one, and who serves what."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from store import keys
from store.artifacts import sync_folder
from store.connection import Redis, available
from store.locks import LockHeld, hold
from store.records import Activation, EngineStatus, PolicyState, PolicyVersion, now
from store.streams import FEED_LENGTH

REPORT_TTL_S = 15

__all__ = [
    "LockHeld",
    "NothingToRollBackTo",
    "PointerMoved",
    "Policies",
    "VersionExists",
    "read_pointer",
    "write_pointer",
]


class NothingToRollBackTo(Exception):
    """No version was active before this one."""


class PointerMoved(Exception):
    """The active version is not the expected one: somebody else activated or rolled back meanwhile."""


class VersionExists(Exception):
    """The number belongs to another version already."""


# Weights that were never active may be remade; what was served stays as it was.
# KEYS: policies, counter, feed. ARGV: number, json, sha256.
_REGISTER = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  known = cjson.decode(known)
  if known['sha256'] == ARGV[3] then return 'known' end
  if known['state'] ~= 'candidate' then return 'exists' end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1]) end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 2000, '*', 'event', 'policy', 'data', ARGV[2])
return 'registered'
"""

# KEYS: numbers, counter. ARGV: run id.
_NUMBER = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return number end
number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""

# Replace versions if none of them changed meanwhile. KEYS: policies, feed.
# ARGV from `first` on: number, json before, json after, for each version.
_REPLACE = """
local function replace(first)
  for i = first, #ARGV, 3 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then return 'changed' end
  end
  for i = first, #ARGV, 3 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 2000, '*', 'event', 'policy', 'data', ARGV[i + 2])
  end
  return 'ok'
end
"""

_SET_STATE = _REPLACE + "return replace(1)"

# KEYS: policies, feed, active, timeline.
# ARGV: expected number or '', activation json, then the version that enters and the one that leaves.
_ACTIVATE = f"""{_REPLACE}
local active = redis.call('GET', KEYS[3]) or ''
if active ~= ARGV[1] then return 'moved' end
local verdict = replace(3)
if verdict == 'ok' then
  redis.call('SET', KEYS[3], ARGV[3])
  redis.call('LPUSH', KEYS[4], ARGV[2])
end
return verdict
"""


class Policies:
    """Reads and writes the registry. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._volume = volume
        self._told: list[tuple[object, ...]] = []
        """Engines as this server's feed events showed them last."""
        self._register = redis.register_script(_REGISTER)
        self._number = redis.register_script(_NUMBER)
        self._set_state = redis.register_script(_SET_STATE)
        self._activate = redis.register_script(_ACTIVATE)

    def folder(self, version: PolicyVersion) -> Path:
        """Where the version's weights are."""
        return self._volume / "policies" / version.folder

    async def number_for_run(self, run_id: str) -> int:
        """The version number of this run: the same at every call."""
        with available():
            return int(await self._number(keys=[keys.POLICY_NUMBERS, keys.POLICY_COUNTER], args=[run_id]))

    async def register(self, version: PolicyVersion) -> None:
        """Enter a sealed version; again with the same digest is no change, whatever became of it.

        Raises VersionExists when the number has other weights that were active or rejected.
        """
        with available():
            verdict = await self._register(
                keys=[keys.POLICIES, keys.POLICY_COUNTER, keys.FEED],
                args=[version.number, version.model_dump_json(), version.sha256],
            )
        if verdict == "exists":
            raise VersionExists(f"version {version.number} is registered with other weights")

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
        """The version that a rollback returns to: the last one that was active and was not taken back."""
        good = {version.number: version for version in await self.versions() if version.state == "retired"}
        for activation in await self.timeline():
            if activation.number in good:
                return good[activation.number]
        return None

    async def set_state(self, number: int, state: PolicyState, reason: str | None = None) -> None:
        """Change a version's state; the feed says so. Raises KeyError for an unknown number."""
        while True:
            text, version = await self._known(number)
            args = _replacement(text, version, state, reason)
            with available():
                if await self._set_state(keys=[keys.POLICIES, keys.FEED], args=args) == "ok":
                    return

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

        First in Redis, which decides, then the file `policies/ACTIVE`, which an engine reads when it starts.
        Raises PointerMoved when the active version is not `expected`, KeyError for an unknown number.
        """
        if number == expected:
            raise PointerMoved(f"v{number} is active already")
        verdict = "changed"
        while verdict == "changed":
            activation = Activation(number=number, previous=expected, actor=actor, reason=reason, at=now())
            text, entering = await self._known(number)
            args = _replacement(text, entering, "active", None)
            if expected is not None:
                args += _replacement(*await self._known(expected), left_as, reason)
            with available():
                verdict = await self._activate(
                    keys=[keys.POLICIES, keys.FEED, keys.POLICY_ACTIVE, keys.POLICY_TIMELINE],
                    args=["" if expected is None else expected, activation.model_dump_json(), *args],
                )
        if verdict == "moved":
            raise PointerMoved(
                f"the active version is not {f'v{expected}' if expected else 'unset'} any more"
            )
        await self._point(entering)
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
        await self._report(keys.serving(server_id), server_id, str(number))

    async def serving(self) -> dict[str, int]:
        """Server id -> version that it gives to new answers."""
        return {server: int(number) for server, number in (await self._reports(keys.serving)).items()}

    async def report_engines(self, server_id: str, statuses: list[EngineStatus]) -> None:
        """Say how the engines are; repeat within 15 s. The feed hears when more changed than who is busy."""
        rows = [status.model_dump(mode="json") for status in statuses]
        await self._report(keys.engines(server_id), server_id, json.dumps(rows))
        told: list[tuple[object, ...]] = [
            (status.name, status.state, status.version, status.error) for status in statuses
        ]
        if told != self._told:
            with available():
                event = {"event": "engines", "data": json.dumps({"engines": rows})}
                await self._redis.xadd(keys.FEED, event, maxlen=FEED_LENGTH, approximate=True)
            self._told = told

    async def engines(self) -> list[EngineStatus]:
        """The engines as the servers saw them last, each engine once."""
        reports = (await self._reports(keys.engines)).values()
        seen = [EngineStatus.model_validate(row) for text in reports for row in json.loads(text)]
        newest = {status.name: status for status in sorted(seen, key=lambda status: status.seen_at)}
        return [newest[name] for name in sorted(newest)]

    def lock(self, name: str, ttl_s: float = 10) -> AbstractAsyncContextManager[None]:
        """Hold a named lock while the body runs. Raises LockHeld when it is taken, or was lost meanwhile."""
        return hold(self._redis, name, ttl_s)

    async def _known(self, number: int) -> tuple[str, PolicyVersion]:
        """The version as it is stored, and as a record."""
        with available():
            text = await self._redis.hget(keys.POLICIES, str(number))
        if text is None:
            raise KeyError(f"there is no version {number}")
        return text, PolicyVersion.model_validate_json(text)

    async def _point(self, version: PolicyVersion) -> None:
        """Write the file; again when another activation came in between, so that the last one stays."""
        while True:
            await asyncio.to_thread(write_pointer, self._volume, version.folder)
            active = await self.active()
            if active is None or active.number == version.number:
                return
            version = active

    async def _report(self, key: str, server_id: str, value: str) -> None:
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(keys.SERVERS, server_id)
                pipe.set(key, value, ex=REPORT_TTL_S)
                await pipe.execute()

    async def _reports(self, key: Callable[[str], str]) -> dict[str, str]:
        """Server id -> what it reported within the last 15 s."""
        with available():
            servers = sorted(await self._redis.smembers(keys.SERVERS))
            values = await self._redis.mget([key(server) for server in servers]) if servers else []
        return {server: value for server, value in zip(servers, values, strict=True) if value}


def _replacement(text: str, version: PolicyVersion, state: PolicyState, reason: str | None) -> list[str]:
    changed = version.model_copy(update={"state": state, "reason": reason})
    return [str(version.number), text, changed.model_dump_json()]


def write_pointer(volume: Path, folder: str) -> None:
    """Make `policies/ACTIVE` name this folder: an engine that starts loads it."""
    target = volume / "policies" / "ACTIVE"
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".tmp-{secrets.token_hex(6)}")
    with open(aside, "w") as file:
        file.write(folder + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, target)
    sync_folder(target.parent)


def read_pointer(volume: Path) -> Path | None:
    """The folder that `policies/ACTIVE` names, or None when nothing was activated yet."""
    try:
        name = (volume / "policies" / "ACTIVE").read_text().strip()
    except FileNotFoundError:
        return None
    return volume / "policies" / name
