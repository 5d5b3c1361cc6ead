"""The trainer as a child process: its metrics forwarded, its end noticed, never left behind.

A child process gives memory and GPU back when it ends, contains a crash, and a cancel is a signal to it. It
leads its own session, so that whatever it started can be swept up with it, and it dies with its worker.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import math
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from store.connection import StoreUnavailable
from store.runs import StaleClaim
from workers.lease import Cancelled, Leash

CANCEL_PATIENCE_S = 15
"""From SIGTERM to SIGKILL: one training step, and time to write a checkpoint."""
NICENESS = 10
"""Whoever chats on the same machine goes first."""
EXIT_POLL_S = 0.05
DRAIN_S = 60
TAIL_BYTES = 2000
LINE_LIMIT = 1 << 26
PR_SET_PDEATHSIG = 1

Metric = Callable[[int, int | None, dict[str, float]], Awaitable[None]]

logger = logging.getLogger(__name__)


class StageFailed(Exception):
    """The trainer did not finish; the message has how it ended and the last lines of its log."""


async def run_trainer(
    command: Sequence[str], log: Path, lease: Leash, on_metric: Metric | None = None
) -> dict[str, Any]:
    """Run one trainer command to its end; the report of its `done` line.

    stdout is one JSON object a line (`metric`, `log`, `done`, `error`); stderr goes to `log`.
    Raises StageFailed (bad exit, or no report), Cancelled (SIGTERM, after 15 s SIGKILL) or StaleClaim (the
    run is somebody else's now: SIGKILL). In every case nothing of the child is left running.
    """
    with _open(log) as log_file:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=log_file,
            limit=LINE_LIMIT,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
        said = _Said(log_file, lease, on_metric)
        listening = asyncio.create_task(said.listen(process))
        try:
            verdict = await _until_end(process, listening, lease)
        finally:
            await _sweep(process)
        await _drain(listening)
    if verdict == "lost":
        raise StaleClaim(f"{lease.name}: another worker has it; the trainer was killed")
    if verdict == "cancel":
        raise Cancelled(lease.name)
    if process.returncode == 0 and said.report is not None:
        return said.report
    raise StageFailed(_how_it_ended(process.returncode, said.error, log))


async def _until_end(process: Process, listening: asyncio.Task[None], lease: Leash) -> str:
    """Wait for the child's end or for the lease's word; what the lease said ("ok" when nothing)."""
    exit_ = asyncio.create_task(_exit(process))
    stop = asyncio.create_task(lease.stopped())
    try:
        waiting: set[asyncio.Task[Any]] = {exit_, stop, listening}
        while not exit_.done() and not stop.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if listening in done:
                listening.result()  # a fault in here must not leave the child talking to nobody
        if exit_.done():
            return "ok"
        if stop.result() == "cancel":
            process.terminate()
            await asyncio.wait(
                {exit_, listening}, timeout=CANCEL_PATIENCE_S, return_when=asyncio.ALL_COMPLETED
            )
        return stop.result()
    finally:
        exit_.cancel()
        stop.cancel()


async def _drain(listening: asyncio.Task[None]) -> None:
    """Hear the last lines. The pipe is at its end now, unless something fled from the child's session."""
    try:
        await asyncio.wait_for(listening, DRAIN_S)
    except TimeoutError:
        logger.warning("something outlived the trainer and keeps its stdout open; not waiting for it")


async def _sweep(process: Process) -> None:
    """Kill what is left of the child's session, and reap the child."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await _exit(process)


async def _exit(process: Process) -> None:
    """Wait for the child's end. `process.wait` also waits for everybody who holds its stdout open."""
    while process.returncode is None:
        await asyncio.sleep(EXIT_POLL_S)


class _Said:
    """What the child says on stdout."""

    def __init__(self, log_file: BinaryIO, lease: Leash, on_metric: Metric | None) -> None:
        self.report: dict[str, Any] | None = None
        self.error: str | None = None
        self._log_file = log_file
        self._lease = lease
        self._on_metric = on_metric

    async def listen(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                self._log_file.write(b"not a JSON event: " + line)
                continue
            if kind == "metric":
                await self._metric(event)
            elif kind == "done":
                self.report = event["report"]
            elif kind == "error":
                self.error = str(event["message"])
            else:
                self._log_file.write(f"{event.get('text', event)}\n".encode())

    async def _metric(self, event: dict[str, Any]) -> None:
        if self._on_metric is None:
            return
        values = {name: float(value) for name, value in event["values"].items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if len(finite) < len(values):
            lost = ", ".join(sorted(values.keys() - finite.keys()))
            self._log_file.write(f"step {event['step']}: not a finite number: {lost}\n".encode())
        try:
            await self._on_metric(event["step"], event.get("of"), finite)
        except StoreUnavailable as error:
            # A point missing on a curve is no reason to stop a training.
            self._lease.redis_errors += 1
            logger.warning("metric not stored: %s", error)


def _open(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    return open(log, "ab", buffering=0)  # a line is there when it was said, whoever dies next


def _die_with_parent() -> Callable[[], None]:
    """What the child does before it becomes the trainer: ask the kernel to kill it when its worker dies."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # died before the line above
                os._exit(1)
        os.nice(NICENESS)

    return prepare


def _how_it_ended(status: int | None, error: str | None, log: Path) -> str:
    if status is not None and status < 0:
        ended = f"was killed by {signal.Signals(-status).name}"
        ended += " (out of memory?)" if status == -signal.SIGKILL else ""
    elif status == 0:
        ended = "ended without a report"
    else:
        ended = f"exited with {status}"
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        tail = file.read().decode(errors="replace").strip()
    said = f": {error}" if error else ""
    return f"the trainer {ended}{said}\nthe end of {log}:\n{tail or '(empty)'}"
