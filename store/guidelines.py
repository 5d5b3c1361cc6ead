"""Guidelines: what annotators are asked to prefer, every version kept."""

from __future__ import annotations

from store import keys
from store.connection import Redis, available
from store.records import Guidelines, now


class GuidelinesChanged(Exception):
    """Somebody else changed the guidelines meanwhile."""


# KEYS: guidelines. ARGV: the newest version that the author saw, json of the next.
_WRITE = """
if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
return redis.call('RPUSH', KEYS[1], ARGV[2])
"""

# KEYS: read. ARGV: account id, version.
_READ = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""


class GuidelineBook:
    """The versions of the guidelines, and who has read which. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = redis.register_script(_WRITE)
        self._read = redis.register_script(_READ)

    async def newest(self) -> Guidelines | None:
        """None: nobody has written any."""
        return await self.version(-1)

    async def version(self, number: int) -> Guidelines | None:
        """One version; -1 is the newest."""
        with available():
            text = await self._redis.lindex(keys.GUIDELINES, number - 1 if number > 0 else -1)
        return Guidelines.model_validate_json(text) if text else None

    async def number(self) -> int | None:
        """The version that holds now; None when there is none."""
        with available():
            return int(await self._redis.llen(keys.GUIDELINES)) or None

    async def write(self, text: str, by: str, after: int) -> Guidelines:
        """The version that follows `after`; 0: the first. Raises GuidelinesChanged when `after` is not the
        newest.
        """
        written = Guidelines(version=after + 1, text=text, by=by, at=now())
        with available():
            if not await self._write(keys=[keys.GUIDELINES], args=[after, written.model_dump_json()]):
                raise GuidelinesChanged(f"version {after} is not the newest any more")
        return written

    async def read_by(self, account_id: str) -> int:
        """The newest version that this person has read, 0 before the first."""
        with available():
            return int(await self._redis.hget(keys.GUIDELINES_READ, account_id) or 0)

    async def mark_read(self, account_id: str, version: int) -> None:
        with available():
            await self._read(keys=[keys.GUIDELINES_READ], args=[account_id, version])
