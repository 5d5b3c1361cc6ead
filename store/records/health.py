"""How workers and Redis are."""

from __future__ import annotations

from datetime import datetime

from store.records.base import Record


class WorkerBeat(Record):
    """A Celery worker that listens."""

    name: str
    queues: tuple[str, ...]
    at: datetime


class RedisHealth(Record):
    """Redis in numbers, as the System page shows it."""

    version: str
    uptime_s: int
    ping_ms: float
    clock_skew_s: float
    """How far its clock is ahead of this machine's."""
    appendonly: str | None
    appendfsync: str | None
    maxmemory_policy: str | None
    """None where a managed service hides the setting."""
    aof_write_ok: bool
    memory_bytes: int
    maxmemory_bytes: int
    """0 is no limit."""
    aof_bytes: int | None
    clients: int
    blocked_clients: int
