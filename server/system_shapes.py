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
    "tick_ahead",
    "queue_long",
    "queues_unseen",
    "no_engine",
    "engine_down",
    "version_behind",
    "schedule_paused",
    "reward_hacking",
    "opinions_failing",
    "trial_stuck",
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
    needed_bytes: int
    """Less than this free is a problem."""


class MachineOut(Out):
    cores: int
    load: float
    """Processes that run or wait, mean of the last minute."""
    memory_bytes: int | None
    memory_free_bytes: int | None


class ServerOut(Out):
    name: str
    serves: int


class AnswersOut(Out):
    """The chat's answers of this server in the last `window_s` seconds."""

    window_s: int
    first_words: int
    """Answers that said a first word."""
    first_word_p50_s: float | None
    first_word_p95_s: float | None
    """Seconds from the request to the first word."""
    by_minute_p95_s: list[float | None]
    """Minute by minute, oldest first; null where nobody asked."""
    ended: int
    failed: int
    waiting: int
    """Requests that wait for an engine at this moment."""


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
    answers: AnswersOut
    sse_clients: int
    """Event streams that this server has open."""
    disk: DiskOut
    machine: MachineOut
    versions: dict[str, str]
    """Software by name."""
