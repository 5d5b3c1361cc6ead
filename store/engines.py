"""The engine registry: engines of other hosts that join and leave at run time, and which are to drain."""

from __future__ import annotations

from store import keys
from store.connection import Redis, available
from store.records import AuditEvent, EngineMember, now

# KEYS: members, draining, audit. ARGV: name, json, audit json, address.
_JOIN = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and cjson.decode(known)['address'] ~= ARGV[4] then return 'taken' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'event', ARGV[3])
return 'ok'
"""

# KEYS: members, draining, audit. ARGV: name, audit json.
_LEAVE = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 'unknown' end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'event', ARGV[2])
return 'ok'
"""

# KEYS: draining, audit. ARGV: name, SADD or SREM, audit json.
_DRAIN = """
if redis.call(ARGV[2], KEYS[1], ARGV[1]) == 1 then redis.call('XADD', KEYS[2], '*', 'event', ARGV[3]) end
return 'ok'
"""


class EngineNameTaken(Exception):
    """Another engine has this name."""


class EngineUnknown(Exception):
    """No engine of this name has joined."""


class EngineRegistry:
    """Every server reads it twice a second. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._join = redis.register_script(_JOIN)
        self._leave = redis.register_script(_LEAVE)
        self._drain = redis.register_script(_DRAIN)

    async def members(self) -> list[EngineMember]:
        """By name."""
        with available():
            texts = await self._redis.hgetall(keys.ENGINE_MEMBERS)
        return [EngineMember.model_validate_json(texts[name]) for name in sorted(texts)]

    async def draining(self) -> set[str]:
        """Names of engines that get no new answers."""
        with available():
            return set(await self._redis.smembers(keys.ENGINES_DRAINING))

    async def join(self, member: EngineMember) -> None:
        """Add an engine; again with the same address is no error. Raises EngineNameTaken."""
        detail = {"address": member.address, "device": member.device}
        event = _event(member.actor, "engine_join", member.name, **detail)
        with available():
            verdict = await self._join(
                keys=[keys.ENGINE_MEMBERS, keys.ENGINES_DRAINING, keys.AUDIT],
                args=[member.name, member.model_dump_json(), event, member.address],
            )
        if verdict == "taken":
            raise EngineNameTaken(member.name)

    async def leave(self, name: str, actor: str) -> None:
        """Remove an engine; its answers under way end first. Raises EngineUnknown."""
        with available():
            verdict = await self._leave(
                keys=[keys.ENGINE_MEMBERS, keys.ENGINES_DRAINING, keys.AUDIT],
                args=[name, _event(actor, "engine_leave", name)],
            )
        if verdict == "unknown":
            raise EngineUnknown(name)

    async def drain(self, name: str, draining: bool, actor: str) -> None:
        """Give the engine no new answers and no other version, or again."""
        event = _event(actor, "engine_drain" if draining else "engine_resume", name)
        with available():
            await self._drain(
                keys=[keys.ENGINES_DRAINING, keys.AUDIT],
                args=[name, "SADD" if draining else "SREM", event],
            )


def _event(actor: str, action: str, name: str, **detail: str) -> str:
    event = AuditEvent(actor=actor, action=action, object=name, detail=detail, at=now())
    return event.model_dump_json()
