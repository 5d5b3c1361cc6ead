"""Before anything starts: where Heed runs, and every reason why it could not, in one line with the remedy."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import ValidationError

from scripts.console import Problem, say
from server.settings import ServerSettings, read_config
from store.connection import StoreUnavailable, UnsafeRedis, check_durable, connect
from store.settings import ConfigError
from trainer.config_file import load_config
from trainer.errors import ConfigError as TrainerConfigError
from workers.settings import load_settings

NEEDED_GIB = 6.0
TWO_ENGINES_GIB = 12.0
MAX_ENGINES = 16
SOCKET_LENGTH = 90
"""A Unix socket's path may have 107 bytes; supervisord binds one with its process id added first."""


class Where(NamedTuple):
    """What the environment says, resolved."""

    data: Path
    run: Path
    """Folder of sockets and process ids, readable by nobody else."""
    host: str
    port: int
    config: Path
    redis_url: str
    """Empty: the launcher starts a Redis of its own."""
    engines: tuple[str, ...]
    """Engines that somebody else runs; empty: the launcher starts `engine_count` of its own."""
    engine_count: int
    model: str
    """Hugging Face id or folder of the base model; empty: the bundled one."""

    @property
    def url(self) -> str:
        """The address to open in a browser on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def read_environment(environment: Mapping[str, str], available_gib: float) -> Where:
    """Raises Problem naming the variable."""
    try:
        settings = ServerSettings()
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(f"HEED_{str(first['loc'][0]).upper()}: {first['msg']}") from None
    data = settings.data.expanduser().absolute()
    model = environment.get("HEED_MODEL", "")
    if model and Path(model).expanduser().is_dir():
        model = str(Path(model).expanduser().resolve())
    return Where(
        data=data,
        run=run_folder(data),
        host=settings.host,
        port=settings.port,
        config=settings.config.expanduser().absolute(),
        redis_url=settings.redis_url,
        engines=settings.engines,
        engine_count=engine_count(environment.get("HEED_ENGINE_COUNT", ""), available_gib),
        model=model,
    )


def run_folder(data: Path) -> Path:
    """`<data>/run`, or a short folder of this user's when a socket's path would be too long there."""
    if len(bytes(data / "run" / "supervisord.sock")) <= SOCKET_LENGTH:
        return data / "run"
    name = f"heed-{os.getuid()}-{hashlib.sha256(bytes(data)).hexdigest()[:10]}"
    return Path(tempfile.gettempdir()) / name


def engine_count(asked: str, available_gib: float) -> int:
    """Two, so that a new version loads beside the active one; one where memory is short."""
    if not asked:
        return 2 if available_gib >= TWO_ENGINES_GIB else 1
    if not asked.isdigit() or not 1 <= int(asked) <= MAX_ENGINES:
        raise Problem(f"HEED_ENGINE_COUNT: {asked} is not a number from 1 to {MAX_ENGINES}")
    return int(asked)


def available_gib() -> float:
    """Memory that new processes can have: the system's, or what the container's limit leaves."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no such limit: the file is missing or says `max`
    return free / 2**30


def make_folders(where: Where) -> None:
    """The data folder, private to this user. Raises Problem."""
    try:
        for name in ("redis", "logs", "secrets", "policies"):
            (where.data / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        where.run.mkdir(mode=0o700, exist_ok=True)
        where.run.chmod(0o700)
    except OSError as error:
        raise Problem(f"HEED_DATA: {where.data} cannot be written ({error.strerror})") from None
    if where.run.stat().st_uid != os.getuid():
        raise Problem(f"{where.run} belongs to somebody else: remove it, or set HEED_DATA to a shorter path")


def lock(where: Where) -> int:
    """Hold the data folder for as long as this process lives. Raises Problem when another Heed has it."""
    handle = os.open(where.data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 32).decode().strip()
        raise Problem(
            f"another Heed runs on {where.data} (process {owner}): stop it, or set another HEED_DATA"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def check_machine(where: Where, memory_gib: float) -> None:
    """Enough memory and disk. Raises Problem."""
    if memory_gib < NEEDED_GIB:
        raise Problem(
            f"{memory_gib:.1f} GiB of memory available, {NEEDED_GIB:.0f} are needed: end other programs"
        )
    free_gib = shutil.disk_usage(where.data).free / 2**30
    if free_gib < NEEDED_GIB:
        raise Problem(
            f"{free_gib:.1f} GiB free in {where.data}, {NEEDED_GIB:.0f} are needed:"
            " make room, or set HEED_DATA to a folder on another disk"
        )


def check_port(host: str, port: int) -> None:
    """Raises Problem when the server could not listen there."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise Problem(f"HEED_HOST: {host} is no address of this machine") from None
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Problem(f"port {port} is taken on {host}: try `HEED_PORT={port + 1} make up`") from None
            raise Problem(
                f"HEED_HOST, HEED_PORT: cannot listen on {host}:{port} ({error.strerror})"
            ) from None


def check_config(where: Where) -> None:
    """The TOML file as every part will read it. Raises Problem naming section and key."""
    try:
        read_config(ServerSettings(config=where.config))
        load_settings()
        load_config(where.config)
    except (ConfigError, TrainerConfigError) as error:
        raise Problem(str(error)) from None


def check_redis(url: str) -> None:
    """The Redis that HEED_REDIS_URL names answers and will not drop votes. Raises Problem."""

    async def ask() -> list[str]:
        async with connect(url) as client:
            return await check_durable(client)

    try:
        for warning in asyncio.run(ask()):
            say(f"Warning: {warning}")
    except UnsafeRedis as error:
        raise Problem(f"HEED_REDIS_URL: {error}") from None
    except StoreUnavailable:
        raise Problem(
            f"HEED_REDIS_URL: no Redis answers at {without_password(url)}: start it, or unset the variable"
        ) from None
    except ValueError as error:
        raise Problem(f"HEED_REDIS_URL: {error}") from None


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
