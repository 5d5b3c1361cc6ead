"""The launch: supervisord, the order in which its programs start, the wait, the watch, the end."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

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

ROOT = Path(__file__).resolve().parent.parent
LOOK_S = 0.3
RETRY_S = 30
STOP_S = 75
DOWN = {"FATAL", "BACKOFF", "EXITED", "UNKNOWN"}


def engine_sockets(where: Where) -> list[Path]:
    """Where the engines that we start listen; none when HEED_ENGINES names others."""
    count = 0 if where.engines else where.engine_count
    return [where.run / f"engine-{number}.sock" for number in range(1, count + 1)]


class Launch:
    """supervisord and its programs, from the first to the last."""

    def __init__(self, where: Where, environment: dict[str, str]) -> None:
        """`environment` is what every process is told."""
        self.where = where
        self.sockets = engine_sockets(where)
        self.environment = environment
        self.redis_url = environment["HEED_REDIS_URL"]
        self.supervisor = Supervisor(where)
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}

    def start_supervisor(self) -> None:
        """supervisord as a child in a session of its own: Ctrl-C reaches it through us only."""
        conf = self.where.run / "supervisord.conf"
        listed = programs(self.where, self.sockets)
        conf.write_text(configuration(self.where, listed))
        socket_of(self.where).unlink(missing_ok=True)
        supervisord = [PYTHON, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(conf)]
        # It has a log of its own, and says on stderr when that cannot be written: were stderr a file on that
        # full disk too, it would end there, and everything with it.
        self.process = subprocess.Popen(
            [*dies_with_parent("TERM"), *supervisord],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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
            with Step("Starting Redis"):
                self.supervisor.start("redis")
                self.wait_for(["redis"], self.redis_answers)
        active = ensure_base(self.where.data, self.redis_url, self.where.model)
        first = [path.stem for path in self.sockets[:1]]
        heed = ["server", "worker-train", "worker-control", "beat"]
        for name in [*first, *heed]:
            self.supervisor.start(name)
        if first:
            with Step(f"Loading version {active.number} into {first[0]}"):
                self.wait_for([*first, *heed], lambda: answers(f"unix://{self.sockets[0]}", "/health"))
        with Step("Starting the server and the workers"):
            self.wait_for([*first, *heed], lambda: self.serves(heed))

    def wait_for(self, names: list[str], ready: Callable[[], bool]) -> None:
        """Until `ready`; a program that ended meanwhile is a Problem with the end of its log."""
        while True:
            try:
                if ready():
                    return
                states = self.supervisor.states()
            except OSError:
                raise self.failed("supervisord") from None
            for name in names:
                pid = states[name]["pid"]
                # Another pid: it ended and was started again, which could go on without end.
                if states[name]["statename"] in DOWN or (pid and self.pids.setdefault(name, pid) != pid):
                    raise self.failed(name)
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
                self.look_after(given_up)
            except OSError:
                if self.process is None or self.process.poll() is not None:
                    raise self.failed("supervisord") from None

    def look_after(self, given_up: dict[str, float]) -> None:
        """Start again what supervisord gave up on: the cause, such as a full disk, may be gone by then."""
        for name, state in self.supervisor.states().items():
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
        return Problem(f"{name} does not run: {self.last_words(name)}")

    def stop(self) -> None:
        """End everything, the ones that write before Redis, and wait for it."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            states = Supervisor(self.where).states()
        except OSError:
            states = {}  # not listening yet
        pids = {name: state["pid"] for name, state in states.items() if state["pid"]}
        with Step("Stopping") as step:
            self.process.terminate()
            deadline = time.monotonic() + STOP_S
            while self.process.poll() is None and time.monotonic() < deadline:
                step.at(", ".join(name for name, pid in pids.items() if psutil.pid_exists(pid)))
                time.sleep(LOOK_S)
            self.process.kill()  # its children have asked the kernel to end with it
            self.process.wait()
