"""Fixtures: a real Redis server on a Unix socket, a volume, a tiny policy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from store.embedded import find_server_binary, server_arguments

# Before anything loads torch: spinning OpenMP threads stall each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class RedisServer:
    """A real server with the durability settings of the product, that a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def start(self) -> None:
        (self.folder / "redis").mkdir(exist_ok=True)
        command = [str(find_server_binary()), *server_arguments(self.folder, self.socket)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client().ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=10)
            self.process = None


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    # A Unix socket's path holds at most 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop(signal.SIGKILL)
    shutil.rmtree(folder)


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """The session's server, running and empty."""
    if _redis_server.process is None or _redis_server.process.poll() is not None:
        _redis_server.start()
    _redis_server.client().flushall()
    return _redis_server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a byte-level tokenizer: servable by vLLM, trainable in seconds."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from trainer.tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny") / "policy")
