"""What the reward hacking watch said last. The workers write it, the server shows it."""

from __future__ import annotations

from datetime import datetime

from store import keys
from store.connection import Redis, available
from store.records import Record
from store.statistics.hacking import Finding

ACTOR = "heed"
"""Who pauses the schedule."""


class Told(Record):
    """A finding, in words, and since when it is as loud as that."""

    finding: Finding
    words: str
    since: datetime


class HackingWatch:
    """Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self, told: Told) -> None:
        with available():
            await self._redis.hset(keys.HACKING, "told", told.model_dump_json())

    async def told(self) -> Told | None:
        with available():
            text = await self._redis.hget(keys.HACKING, "told")
        return Told.model_validate_json(text) if text else None

    async def paused_for(self, version: int) -> None:
        """The schedule was paused for versions up to this one: a person who resumes it has seen them."""
        with available():
            await self._redis.hset(keys.HACKING, "through", str(version))

    async def seen_through(self) -> int:
        """The newest version that a pause was about; 0: there was none."""
        with available():
            return int(await self._redis.hget(keys.HACKING, "through") or 0)
