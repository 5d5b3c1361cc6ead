"""Heed as it is started on one machine, and how each of its processes is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from scripts.preflight import Where
from scripts.started import Heed, start_heed, stop_heed
from scripts.supervise import Supervisor
from store.connection import connect
from store.health import Health
from store.policies import Policies
from store.records import now
from store.runs import Runs
from store.votes import VoteLog
from trainer.tiny import make_tiny

PROGRAMS = {
    "worker": "worker-train",
    "control": "worker-control",
    "beat": "beat",
    "server": "server",
    "redis": "redis",
    "engine": "engine-1",
}
"""Victim -> the name that supervisord knows it by."""
VICTIMS = ("trainer", "child", *PROGRAMS, "all")
INCIDENTS = ("frozen", "disk", "forward", "back")
"""The train worker stands still for longer than its lease; the disk is full for a while; the clock jumps."""
FROZEN_S = 12.0
FULL_S = 20.0
JUMP_S = 7200
JUMPING_CLOCK = Path(__file__).with_name("jumping_clock.c")
READY_S = 240.0
TICKED_S = 5.0


class Site:
    """`async with Site(home, config)`: everything runs, and can be killed."""

    def __init__(self, home: Path, config: Path, **environment: str) -> None:
        self._home, self._config = home, config
        model = make_tiny(home / "model")
        self._clock = home / "clock"
        self._clock.write_bytes(bytes(8))
        self._environment = {
            **{"HEED_MODEL": str(model), "HEED_ENGINE_COUNT": "2"},
            **_changeable_clock(home, self._clock),
            **environment,
        }
        self.heed: Heed
        redis = connect(f"unix://{home / 'data' / 'run' / 'redis.sock'}?db=0")
        self.redis = redis
        self.runs, self.votes = Runs(redis), VoteLog(redis, home / "data")
        self._clock_ahead_s = 0
        data = home / "data"
        self._where = Where(data, data / "run", "127.0.0.1", 0, config, "", (), 2, "")
        self.policies = Policies(redis, home / "data")

    async def __aenter__(self) -> Site:
        self.heed = await asyncio.to_thread(self._start)
        await self._both_engines()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.redis.aclose()
        await asyncio.to_thread(stop_heed, self.heed)

    def kill(self, victim: str) -> bool:
        """SIGKILL; whether there was such a process."""
        if victim == "all":
            found = [self._supervisor(), *self._supervisor().children(recursive=True)]
            found.append(psutil.Process(self.heed.process.pid))
        else:
            found = self._find(victim)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        return bool(found)

    async def befall(self, incident: str) -> bool:
        """Something other than a kill, until it is over; whether it could be done here."""
        if incident == "frozen":
            stopped = [*self._find("worker"), *self._find("child")]  # the trainer goes on
            for process in stopped:
                process.suspend()
            await asyncio.sleep(FROZEN_S)
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
            return True
        if incident == "disk":
            ballast = self._home / "data" / "ballast"
            if not self._home.is_mount():
                return False
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(FULL_S)
            ballast.unlink()
            return True
        if "LD_PRELOAD" not in self._environment:
            return False
        self._clock_ahead_s += JUMP_S if incident == "forward" else -JUMP_S
        _write_over(self._clock, self._clock_ahead_s.to_bytes(8, "little", signed=True))
        return True

    async def ticks(self) -> bool:
        """Whether the schedule was looked at just now, by the clock as it is after its jumps."""
        tick = await Health(self.redis).last_tick()
        if tick is None:
            return False
        return abs((tick - now()).total_seconds() - self._clock_ahead_s) < TICKED_S

    async def recover(self, victim: str) -> None:
        """What nobody restarts by itself: the launcher, and with it everything, when all is gone."""
        if victim == "all":
            self.heed.process.wait()
            port = self.heed.url.rpartition(":")[2]
            self.heed = await asyncio.to_thread(self._start, port)

    def _start(self, port: str = "") -> Heed:
        same = {"HEED_PORT": port} if port else {}
        return start_heed(self._home / "data", self._config, **self._environment, **same)

    async def _both_engines(self) -> None:
        deadline = time.monotonic() + READY_S
        while [one.state for one in await self.policies.engines()] != ["ready", "ready"]:
            if time.monotonic() > deadline:
                raise RuntimeError("the second engine does not come")
            await asyncio.sleep(0.2)

    def _supervisor(self) -> psutil.Process:
        pidfile = self._home / "data" / "run" / "supervisord.pid"
        return psutil.Process(int(pidfile.read_text()))

    def _find(self, victim: str) -> list[psutil.Process]:
        """The processes that a victim stands for; none when it does not run now."""
        program = psutil.Process(
            Supervisor(self._where).states()[PROGRAMS.get(victim, "worker-train")]["pid"]
        )
        if victim == "child":
            return program.children()
        if victim == "trainer":
            return [grandchild for child in program.children() for grandchild in child.children()]
        return [program, *program.children(recursive=True)] if victim == "engine" else [program]


def _fill(ballast: Path) -> None:
    """Take the whole file system, what is reserved for root included."""
    with open(ballast, "wb") as file, suppress(OSError):
        chunk = 256 << 20
        while chunk >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), chunk)
            except OSError:
                chunk //= 2


def _write_over(file: Path, data: bytes) -> None:
    """In place: the processes have mapped this very file."""
    with open(file, "r+b") as open_file:
        open_file.write(data)


def _changeable_clock(home: Path, file: Path) -> dict[str, str]:
    """Environment of processes whose wall clock is that of the machine plus the seconds in `file`.

    Nothing where there is no C compiler.
    """
    library = home / "jumping_clock.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, JUMPING_CLOCK], check=True)
    return {"LD_PRELOAD": str(library), "HEED_CLOCK": str(file)}
