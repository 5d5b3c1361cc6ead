"""What the System page is given."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.shapes import Out
from store.records import EngineStatus, RedisHealth, WorkerBeat

ProblemKind = Literal[
    "aof_off",
    "fsync_weak",
    "aof_failing",
    "eviction",
    "memory_full",
    "redis_hidden",
    "redis_slow",
    "clock_skew",
    "disk_low",
    "no_train_worker",
    "no_control_worker",
    "no_tick",
    "queue_long",
    "queues_unseen",
    "no_engine",
    "engine_down",
    "version_behind",
    "schedule_paused",
    "archive_failing",
]


class ProblemOut(Out):
    kind: ProblemKind
    severity: Literal["bad", "warning"]
    what: str
    """In words, with the numbers."""
    fix: str
    """What to do; a command or a setting where there is one."""


class DiskOut(Out):
    folder: str
    total_bytes: int
    free_bytes: int
    policies_bytes: int
    """What the published versions take."""


class MachineOut(Out):
    cores: int
    load: float
    """Processes that run or wait, mean of the last minute."""
    memory_bytes: int | None
    memory_free_bytes: int | None


class ServerOut(Out):
    name: str
    serves: int


class SystemOut(Out):
    at: datetime
    problems: list[ProblemOut]
    redis: RedisHealth
    queues: dict[str, int] | None
    workers: list[WorkerBeat]
    last_tick: datetime | None
    engines: list[EngineStatus]
    servers: list[ServerOut]
    """Servers that reported within 15 s, and the version that each gives to new answers."""
    sse_clients: int
    """Event streams that this server has open."""
    disk: DiskOut
    machine: MachineOut
    versions: dict[str, str]
    """Software by name."""
