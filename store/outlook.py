"""The outlook: what starts the next training, as the last tick saw it. Workers write, servers read."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Literal, Protocol

from store import keys
from store.connection import Redis, available
from store.records import Record
from store.statistics.drift import Drift

Because = Literal["votes", "schedule", "calendar", "drift"]


class Outlook(Record):
    """When the next training would start by itself, were nothing else to happen."""

    next_at: datetime | None
    """None: no clock starts one; votes or a person do."""
    because: Because | None
    quiet_until: datetime | None
    """Quiet hours hold until then: no training starts by itself."""
    canary: int | None = None
    """This version is on trial: none starts by itself before it is decided, since the next one would be
    compared with a parent that may be gone when it is done."""
    drift: Drift | None
    """None: nothing is known of how the live reward model does on new votes."""
    rules_at: datetime | None = None
    """When somebody had last changed the start rules that this follows (`store/start_rules.py`)."""
    at: datetime


class RecentAgreement(Protocol):
    """How often the live reward model would have voted as people did since: (right, n).

    On the newest `limit` votes for a or b at most, of those that it has scored and was not trained on.
    """

    def __call__(self, redis: Redis, limit: int) -> Awaitable[tuple[int, int]]: ...


class Outlooks:
    """Where the last one stands. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def write(self, outlook: Outlook) -> None:
        with available():
            await self._redis.set(keys.SCHEDULE_OUTLOOK, outlook.model_dump_json())

    async def read(self) -> Outlook | None:
        """None before the first tick."""
        with available():
            text = await self._redis.get(keys.SCHEDULE_OUTLOOK)
        return Outlook.model_validate_json(text) if text else None
