"""The state of everything behind the page, and each problem named with its fix."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from datetime import datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from server.dependencies import Parts
from server.system_shapes import DiskOut, MachineOut, ProblemKind, ProblemOut, ServerOut, SystemOut
from store import disk
from store.hacking import Told
from store.health import ArchivePass
from store.opinions import Trouble
from store.records import EngineStatus, Pause, RedisHealth, WorkerBeat, now

SOFTWARE = ("heed", "fastapi", "uvicorn", "redis", "celery", "vllm", "torch", "transformers")
SKEW_S = 2.0
SLOW_MS = 50.0
MEMORY_SHARE = 0.9
LONG_QUEUE = 20
"""Ticks that wait: nobody takes them."""
TICKS_MISSED_S = 60
"""So old, or so far in the future, is the last tick when something is wrong."""
ARCHIVE_LATE_S = 3600
FEWEST_KNOWN = 7
"""Known verdicts that nobody gets right by luck (`store/dataset/checks.py`)."""
BEHIND_S = 120
"""A swap takes less: a server that is behind for longer is stuck."""


async def look(heed: Parts) -> SystemOut:
    """Everything at once. Raises StoreUnavailable when Redis is away: then that is the problem."""
    redis = await heed.health.redis()
    queues, workers = await heed.health.queues(), await heed.health.workers()
    tick, paused = await heed.health.last_tick(), await heed.runs.paused()
    engines, serving = await heed.policies.engines(), await heed.policies.serving()
    active, timeline = await heed.policies.active(), await heed.policies.timeline(limit=1)
    room = await asyncio.to_thread(disk_of, heed.settings.data)
    since = timeline[0].at if timeline else None
    problems = [
        *redis_problems(redis),
        *worker_problems(workers, queues, tick, paused),
        *engine_problems(engines, serving, active.number if active else None, since),
        *disk_problems(room),
        *archive_problems(await heed.health.last_archived()),
        *trial_problems(heed.config.votes.trial_votes, (await heed.queue.progress()).gold),
        *reward_problems(await heed.hacking.told(), await heed.opinions.trouble()),
    ]
    return SystemOut(
        at=now(),
        problems=sorted(problems, key=lambda problem: problem.severity),
        redis=redis,
        queues=queues,
        workers=workers,
        last_tick=tick,
        engines=engines,
        servers=[ServerOut(name=name, serves=number) for name, number in sorted(serving.items())],
        answers=heed.metrics.recent.look(heed.metrics.waiting),
        sse_clients=heed.metrics.open_streams,
        disk=room,
        machine=machine(),
        versions=software() | {"redis server": redis.version},
    )


def redis_problems(redis: RedisHealth) -> list[ProblemOut]:
    """What could lose or refuse votes."""
    found = []
    if redis.appendonly is None:
        found.append(_warning("redis_hidden", "Redis hides its settings", "make sure of noeviction and AOF"))
    elif redis.appendonly != "yes":
        fix = "redis-cli CONFIG SET appendonly yes, and `appendonly yes` in its configuration"
        found.append(_bad("aof_off", "Redis keeps no append-only file: a crash loses votes", fix))
    elif redis.appendfsync != "always":
        what = f"Redis writes with appendfsync {redis.appendfsync}: a power cut loses up to a second of votes"
        found.append(_warning("fsync_weak", what, "redis-cli CONFIG SET appendfsync always"))
    if redis.maxmemory_policy not in (None, "noeviction"):
        what = f"Redis drops keys when it is full (maxmemory-policy {redis.maxmemory_policy})"
        found.append(_bad("eviction", what, "redis-cli CONFIG SET maxmemory-policy noeviction"))
    if not redis.aof_write_ok:
        what = "Redis could not write its append-only file: it refuses votes"
        found.append(_bad("aof_failing", what, "make room on its disk; look at its log"))
    if redis.maxmemory_bytes and redis.memory_bytes > MEMORY_SHARE * redis.maxmemory_bytes:
        what = f"Redis holds {_mib(redis.memory_bytes)} of {_mib(redis.maxmemory_bytes)}"
        found.append(_bad("memory_full", what, "raise maxmemory: a full Redis refuses votes"))
    if redis.ping_ms > SLOW_MS:
        what = f"Redis took {redis.ping_ms:.0f} ms to answer"
        found.append(_warning("redis_slow", what, "look at its disk and at SLOWLOG GET"))
    if abs(redis.clock_skew_s) > SKEW_S:
        what = f"the clocks of Redis and of this server differ by {redis.clock_skew_s:+.1f} s"
        found.append(_warning("clock_skew", what, "run a time service such as chrony on both machines"))
    return found


def worker_problems(
    workers: list[WorkerBeat], queues: dict[str, int] | None, tick: datetime | None, paused: Pause | None
) -> list[ProblemOut]:
    """Who would train, and who looks at the schedule."""
    found = []
    listened = {queue for worker in workers for queue in worker.queues}
    names: tuple[tuple[str, ProblemKind], ...] = (
        ("train", "no_train_worker"),
        ("control", "no_control_worker"),
    )
    for queue, kind in names:
        if queue not in listened:
            fix = f"python -m celery -A workers.app worker -Q {queue} -c 1 -n {queue}@%h"
            found.append(_bad(kind, f"no worker is listening on queue {queue}", fix))
    if queues is None:
        found.append(_warning("queues_unseen", "the queues cannot be read", "give Redis a database 1"))
    elif queues["control"] > LONG_QUEUE:
        what = f"{queues['control']} messages wait in queue control"
        found.append(_warning("queue_long", what, "restart worker-control; look at its log"))
    age_s = None if tick is None else (now() - tick).total_seconds()
    if age_s is None or age_s > TICKS_MISSED_S:
        said = "never" if age_s is None else f"{age_s:.0f} s ago"
        what = f"the schedule was looked at {said}: no training starts"
        found.append(_bad("no_tick", what, "python -m celery -A workers.app beat"))
    elif age_s < -TICKS_MISSED_S:
        what = f"the schedule was looked at {-age_s:.0f} s ahead of this server's clock: nobody ticked since"
        what += " a clock was set back, or the clock of worker-control is wrong"
        fix = "restart beat; run a time service such as chrony on every machine"
        found.append(_bad("tick_ahead", what, fix))
    if paused is not None:
        what = f"the schedule is paused since {paused.at:%Y-%m-%d %H:%M} UTC: {paused.reason}"
        found.append(_warning("schedule_paused", what, "resume it on the dashboard"))
    return found


def engine_problems(
    engines: list[EngineStatus], serving: dict[str, int], active: int | None, since: datetime | None
) -> list[ProblemOut]:
    """Who answers, and whether with the right version."""
    if not engines:
        fix = "python -m server.engines.launch --name engine-1 --socket ..., or `make up`"
        return [_bad("no_engine", "no engine has reported: nobody can answer", fix)]
    found = []
    for engine in engines:
        if engine.state == "down":
            what = f"{engine.name} is down: {engine.error or 'it does not answer'}"
            found.append(
                _bad("engine_down", what, f"look at the log of {engine.name}; it is restarted by itself")
            )
    late = since is not None and (now() - since).total_seconds() > BEHIND_S
    for server, number in sorted(serving.items()):
        if late and active is not None and number != active:
            what = f"{server} serves v{number}, v{active} is active"
            fix = "look at the server's log for why the engines refuse it; roll back if it stays"
            found.append(_bad("version_behind", what, fix))
    return found


def disk_problems(seen: DiskOut) -> list[ProblemOut]:
    if seen.free_bytes >= seen.needed_bytes:
        return []
    what = f"{_mib(seen.free_bytes)} are free in {seen.folder}, a training may take {_mib(seen.needed_bytes)}"
    return [_bad("disk_low", what, "make room: a training that cannot write its version fails")]


def reward_problems(told: Told | None, trouble: Trouble | None) -> list[ProblemOut]:
    """Whether the reward model still stands for what people like, and whether it can be asked."""
    found = []
    if told is not None and told.finding.level != "quiet":
        fix = "compare the versions' answers, roll back if people are right; then resume on the dashboard"
        say = _bad if told.finding.level == "stop" else _warning
        found.append(say("reward_hacking", told.words, fix))
    if trouble is not None:
        what = f"votes could not be scored by the reward model ({trouble.tries} times): {trouble.error[:300]}"
        found.append(_warning("opinions_failing", what, "look at opinions/score.log in the data folder"))
    return found


def trial_problems(wanted: int, known: int) -> list[ProblemOut]:
    """Whether an annotator on trial can pass: each meets a known verdict once."""
    enough = max(wanted, FEWEST_KNOWN)
    if not wanted or known >= enough:
        return []
    what = (
        f"new accounts are on trial, and the queue has {known} known verdicts: nobody can get {enough} right"
    )
    fix = "upload items with `gold` to the queue, admit accounts on the page People, or set trial_votes = 0"
    return [_warning("trial_stuck", what, fix)]


def archive_problems(last: ArchivePass | None) -> list[ProblemOut]:
    """Nothing before the first pass: a new site, or one without a control worker, which is named already."""
    if last is not None and last.error:
        return [_bad("archive_failing", f"nothing is archived: {last.error}", "see docs/archive.md")]
    if last is not None and (age := (now() - last.at).total_seconds()) > ARCHIVE_LATE_S:
        what = f"nothing was archived for {age / 60:.0f} minutes"
        return [_warning("archive_failing", what, "look at the log of worker-control")]
    return []


def disk_of(folder: Path) -> DiskOut:
    return DiskOut(
        folder=str(folder),
        total_bytes=shutil.disk_usage(folder).total,
        free_bytes=disk.free_bytes(folder),
        policies_bytes=sum(disk.version_bytes(folder)),
        needed_bytes=disk.training_bytes(folder),
    )


def machine() -> MachineOut:
    """This server's own machine. Memory is Linux's word, none elsewhere."""
    kib = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            kib[name] = int(rest.split()[0])
    except OSError:
        kib = {}
    return MachineOut(
        cores=os.cpu_count() or 1,
        load=os.getloadavg()[0],
        memory_bytes=kib["MemTotal"] << 10 if "MemTotal" in kib else None,
        memory_free_bytes=kib["MemAvailable"] << 10 if "MemAvailable" in kib else None,
    )


@lru_cache
def software() -> dict[str, str]:
    """Versions of what is installed beside this server."""
    found = {"python": platform.python_version()}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _bad(kind: ProblemKind, what: str, fix: str) -> ProblemOut:
    return ProblemOut(kind=kind, severity="bad", what=what, fix=fix)


def _warning(kind: ProblemKind, what: str, fix: str) -> ProblemOut:
    return ProblemOut(kind=kind, severity="warning", what=what, fix=fix)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB" if size < 10 << 30 else f"{size / (1 << 30):.0f} GiB"
