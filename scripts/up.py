"""`make up`: everything on one machine, started in order under supervisord, stopped by Ctrl-C.

Where it runs comes from HEED_DATA, HEED_HOST, HEED_PORT, HEED_CONFIG, HEED_REDIS_URL, HEED_MODEL,
HEED_ENGINE_COUNT and HEED_ENGINES (docs/architecture.md); none of them is needed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from scripts import preflight
from scripts.base import ensure_base
from scripts.console import Problem, Step, say
from scripts.health import answers
from scripts.preflight import Where
from scripts.supervise import (
    PYTHON,
    Supervisor,
    configuration,
    dies_with_parent,
    log_of,
    programs,
    socket_of,
)
from store.accounts import Accounts
from store.connection import StoreUnavailable, available, connect
from store.embedded import NoRedisServer

ROOT = Path(__file__).resolve().parent.parent
LOOK_S = 0.3
PREDECESSOR_S = 60
RETRY_S = 30
STOP_S = 75
DOWN = {"FATAL", "BACKOFF", "EXITED", "UNKNOWN"}


def child_environment(environment: Mapping[str, str], where: Where, sockets: list[Path]) -> dict[str, str]:
    """What every process is told: where things are, and to ask nobody on the internet."""
    redis_url = where.redis_url or f"unix://{where.run / 'redis.sock'}?db=0"
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    return {
        **quiet,
        **environment,
        "HEED_DATA": str(where.data),
        "HEED_HOST": where.host,
        "HEED_PORT": str(where.port),
        "HEED_CONFIG": str(where.config),
        "HEED_REDIS_URL": redis_url,
        "HEED_ENGINES": ",".join(where.engines or [f"unix://{path}" for path in sockets]),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        # A worker that is told to stop ends its task first instead of waiting for hours.
        "REMAP_SIGTERM": "SIGQUIT",
    }


class Launch:
    """supervisord and the order in which its programs start."""

    def __init__(self, where: Where) -> None:
        self.where = where
        count = 0 if where.engines else where.engine_count
        self.sockets = [where.run / f"engine-{number}.sock" for number in range(1, count + 1)]
        self.environment = child_environment(os.environ, where, self.sockets)
        self.redis_url = self.environment["HEED_REDIS_URL"]
        self.supervisor = Supervisor(where)
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}

    def start_supervisor(self) -> None:
        """supervisord as a child in a session of its own: Ctrl-C reaches it through us only."""
        conf = self.where.run / "supervisord.conf"
        listed = programs(self.where, self.sockets)
        conf.write_text(configuration(self.where, listed))
        socket_of(self.where).unlink(missing_ok=True)
        command = [
            *dies_with_parent("TERM"),
            PYTHON,
            "-W",
            "ignore",
            "-m",
            "supervisor.supervisord",
            "-c",
            str(conf),
        ]
        with open(log_of(self.where, "supervisord"), "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.supervisor.states()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise self.failed("supervisord") from None
            time.sleep(0.05)

    def bring_up(self) -> None:
        """Redis, the base model, then everything else at once; returns when a person can chat."""
        if not self.where.redis_url:
            with Step("Starting Redis") as step:
                self.supervisor.start("redis")
                self.wait_for(step, ["redis"], self.redis_answers)
        active = ensure_base(self.where.data, self.redis_url, self.where.model)
        first = [path.stem for path in self.sockets[:1]]
        heed = ["server", "worker-train", "worker-control", "beat"]
        for name in [*first, *heed]:
            self.supervisor.start(name)
        if first:
            with Step(f"Loading version {active.number} into {first[0]}") as step:
                self.wait_for(step, [*first, *heed], lambda: answers(f"unix://{self.sockets[0]}", "/health"))
        with Step("Starting the server and the workers") as step:
            self.wait_for(step, [*first, *heed], lambda: self.serves(heed))

    def wait_for(self, step: Step, names: list[str], ready: Callable[[], bool]) -> None:
        """Until `ready`; a program that ended meanwhile is a Problem with the end of its log."""
        while not ready():
            states = self.supervisor.states()
            for name in names:
                pid = states[name]["pid"]
                # Another pid: it ended and was started again, which could go on without end.
                if states[name]["statename"] in DOWN or (pid and self.pids.setdefault(name, pid) != pid):
                    raise self.failed(name)
            step.at("")
            time.sleep(LOOK_S)

    def serves(self, names: list[str]) -> bool:
        """True when all of them run and the server can answer a chat."""
        states = self.supervisor.states()
        run = all(states[name]["statename"] == "RUNNING" for name in names)
        return run and answers(self.where.url, "/readyz")

    def redis_answers(self) -> bool:
        """True once Redis has read its append-only file."""

        async def ping() -> None:
            async with connect(self.redis_url) as client:
                with available():
                    await client.ping()

        try:
            asyncio.run(ping())
        except StoreUnavailable:
            return False
        return True

    def ready_line(self) -> str:
        """The address; with the one-time set-up link until the first account exists."""

        async def token() -> str | None:
            async with connect(self.redis_url) as client:
                return await Accounts(client, self.where.data).setup_token()

        secret = asyncio.run(token())
        link = f"{self.where.url}/setup#token={secret}" if secret else self.where.url
        return f"Heed is ready: {link}"

    def watch(self) -> None:
        """The other engines in the background, and a word about whatever supervisord has given up on."""
        for path in self.sockets[1:]:
            self.supervisor.start(path.stem)
        given_up: dict[str, float] = {}
        while True:
            time.sleep(1)
            try:
                states = self.supervisor.states()
            except OSError:
                if self.process is None or self.process.poll() is not None:
                    raise self.failed("supervisord") from None
                continue
            for name, state in states.items():
                if state["statename"] == "FATAL" and name not in given_up:
                    say(f"{name} keeps ending and is tried again every {RETRY_S} s: {self.last_words(name)}")
                    given_up[name] = time.monotonic()
                elif state["statename"] == "FATAL" and time.monotonic() - given_up[name] > RETRY_S:
                    given_up[name] = time.monotonic()
                    self.supervisor.start(name)
                elif state["statename"] == "RUNNING" and name in given_up:
                    del given_up[name]
                    say(f"{name} runs again")

    def last_words(self, name: str) -> str:
        """The last line of a program's log, and where the log is."""
        log = log_of(self.where, name)
        text = log.read_bytes()[-4000:].decode(errors="replace") if log.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"{lines[-1] if lines else 'it said nothing'} ({log})"

    def failed(self, name: str) -> Problem:
        return Problem(f"{name} does not start: {self.last_words(name)}")

    def stop(self) -> None:
        """End everything, the ones that write before Redis, and wait for it."""
        if self.process is None or self.process.poll() is not None:
            return
        pids = {name: state["pid"] for name, state in self.supervisor.states().items() if state["pid"]}
        with Step("Stopping") as step:
            self.process.terminate()
            deadline = time.monotonic() + STOP_S
            while self.process.poll() is None and time.monotonic() < deadline:
                step.at(", ".join(name for name, pid in pids.items() if psutil.pid_exists(pid)))
                time.sleep(LOOK_S)
            self.process.kill()  # its children have asked the kernel to end with it
            self.process.wait()


def wait_for_predecessor(where: Where) -> None:
    """A launcher that was killed leaves a supervisord that is still stopping its programs: let it."""
    pidfile = where.run / "supervisord.pid"
    if not is_alive(pidfile):
        return
    deadline = time.monotonic() + PREDECESSOR_S
    with Step("Waiting for the Heed before this one to end") as step:
        while is_alive(pidfile):
            if time.monotonic() > deadline:
                raise Problem(
                    f"process {pidfile.read_text().strip()} of an earlier start does not end: kill it"
                )
            step.at("")
            time.sleep(LOOK_S)


def is_alive(pidfile: Path) -> bool:
    """True when the file names a running supervisord (not some other process with a reused number)."""
    try:
        return b"supervisord" in Path(f"/proc/{int(pidfile.read_text())}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    for name in [name for name, value in os.environ.items() if name.startswith("HEED_") and not value]:
        del os.environ[name]  # `HEED_DATA= make up` means the default, not the current folder
    memory_gib = preflight.available_gib()
    where = preflight.read_environment(os.environ, memory_gib)
    preflight.make_folders(where)
    preflight.lock(where)
    wait_for_predecessor(where)
    preflight.check_port(where.host, where.port)
    preflight.check_config(where)
    if where.redis_url:
        preflight.check_redis(where.redis_url)
    preflight.check_machine(where, memory_gib)
    launch = Launch(where)
    try:
        launch.start_supervisor()
        launch.bring_up()
        say(launch.ready_line())
        launch.watch()
    except NoRedisServer as error:
        raise Problem(str(error)) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        launch.stop()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("Stopped")
