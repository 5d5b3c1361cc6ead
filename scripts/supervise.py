"""supervisord: the processes of one machine, their order and restarts, and how the launcher talks to it."""

from __future__ import annotations

import configparser
import http.client
import io
import shlex
import shutil
import subprocess
import sys
import xmlrpc.client
from pathlib import Path
from typing import Any, NamedTuple

from scripts.health import UnixConnection
from scripts.preflight import Where
from store.embedded import find_server_binary, server_arguments

PYTHON = sys.executable
MINDER = str(Path(__file__).resolve().parent / "minder.py")
REDIS, ENGINES, HEED = 10, 20, 30
"""Stopped from the highest to the lowest: Redis outlives everybody who writes to it."""


class Program(NamedTuple):
    """One process: `order` is its group in the shutdown, `stop_s` how long it may take to end.

    `orphaned` is the signal it gets when supervisord is killed. Only Redis and the minders have something to
    finish then; a worker would wait for a Redis that is gone, and its run goes on from the record later.
    """

    name: str
    command: list[str]
    order: int
    stop_s: int
    orphaned: str = "KILL"


def programs(where: Where, sockets: list[Path]) -> list[Program]:
    """Every process that `make up` starts, in the order of their start."""
    listed = []
    if not where.redis_url:
        listed.append(Program("redis", redis_command(where), REDIS, 20, "TERM"))
    for path in sockets:
        engine = [PYTHON, "-m", "server.engines.launch", "--name", path.stem, "--socket", str(path)]
        minder = [PYTHON, "-I", "-S", MINDER, str(path.with_suffix(".group")), *dies_with_parent("KILL")]
        listed.append(Program(path.stem, [*minder, *engine], ENGINES, 20, "TERM"))
    celery = [PYTHON, "-m", "celery", "-A", "workers.app"]
    worker = [*celery, "worker", "-P", "prefork", "-c", "1", "--without-gossip", "--without-mingle"]
    beat = [*celery, "beat", "--pidfile="]
    return [
        *listed,
        Program("server", [PYTHON, "-m", "server"], HEED, 15),
        Program("worker-train", [*worker, "-Q", "train", "-n", "train@%h"], HEED, 45),
        Program("worker-control", [*worker, "-Q", "control", "-n", "control@%h"], HEED, 45),
        Program("beat", beat, HEED, 10),
    ]


def redis_command(where: Where) -> list[str]:
    """Our own Redis; `flock` keeps a second server off the same append-only file, whoever starts it."""
    server = [str(find_server_binary()), *server_arguments(where.data, where.run / "redis.sock")]
    flock = shutil.which("flock")
    return (
        [flock, "--nonblock", "--no-fork", str(where.data / "redis" / "lock"), *server] if flock else server
    )


def dies_with_parent(signal_name: str) -> list[str]:
    """A command prefix: the process gets this signal when its parent is gone. Empty where there is none."""
    setpriv = shutil.which("setpriv") or ""
    prefix = [setpriv, "--pdeathsig", signal_name]
    if not setpriv or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        return []
    return prefix


def configuration(where: Where, listed: list[Program]) -> str:
    """The text of supervisord.conf. Nothing starts by itself: the launcher starts each part in its turn."""
    sections: dict[str, dict[str, Any]] = {
        "supervisord": {
            "nodaemon": "true",
            "silent": "true",
            "umask": "077",
            "identifier": "heed",
            "pidfile": escaped(where.run / "supervisord.pid"),
            "logfile": escaped(where.data / "logs" / "supervisord.log"),
            "logfile_maxbytes": "10MB",
            "logfile_backups": 3,
        },
        "unix_http_server": {"file": escaped(socket_of(where)), "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    for program in listed:
        sections[f"program:{program.name}"] = {
            "command": escaped(shlex.join([*dies_with_parent(program.orphaned), *program.command])),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 2,
            "startretries": 5,
            "stopwaitsecs": program.stop_s,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": escaped(log_of(where, program.name)),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 3,
        }
    for order, name in ((REDIS, "store"), (ENGINES, "engines"), (HEED, "heed")):
        members = [program.name for program in listed if program.order == order]
        if members:
            sections[f"group:{name}"] = {"programs": ",".join(members), "priority": order}
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def escaped(value: object) -> str:
    """supervisord expands %(name)s and takes ` ;` as the start of a comment."""
    return str(value).replace("%", "%%")


def socket_of(where: Where) -> Path:
    return where.run / "supervisord.sock"


def log_of(where: Where, program: str) -> Path:
    return where.data / "logs" / f"{program}.log"


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return UnixConnection(self._path, 10)


class Supervisor:
    """supervisord's own XML-RPC over its Unix socket. Every call raises OSError when it is gone or ending."""

    def __init__(self, where: Where) -> None:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(socket_of(where)))
        self._calls: Any = proxy.supervisor

    def states(self) -> dict[str, dict[str, Any]]:
        """Program name -> supervisord's description: statename, pid, group."""
        try:
            return {process["name"]: process for process in self._calls.getAllProcessInfo()}
        except (xmlrpc.client.Error, http.client.HTTPException) as error:
            raise ConnectionError(str(error)) from error

    def start(self, name: str) -> None:
        """Start a program without waiting for it; already started is no error."""
        group = self.states()[name]["group"]
        try:
            self._calls.startProcess(f"{group}:{name}", False)
        except (xmlrpc.client.Error, http.client.HTTPException) as error:
            if "ALREADY_STARTED" not in str(error):
                raise ConnectionError(str(error)) from error
