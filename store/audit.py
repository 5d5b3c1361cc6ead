"""The audit log: who did what to what, append-only."""

from __future__ import annotations

from store import keys
from store.connection import Redis, available
from store.records import AuditEvent


class Audit:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def append(self, event: AuditEvent) -> None:
        with available():
            await self._redis.xadd(keys.AUDIT, {"event": event.model_dump_json()})

    async def newest(self, limit: int = 100) -> list[AuditEvent]:
        """Newest first."""
        with available():
            rows = await self._redis.xrevrange(keys.AUDIT, count=limit)
        return [AuditEvent.model_validate_json(fields["event"]) for _, fields in rows]
