"""Heed started the way a person starts it, for the scripted loop, the benchmarks and the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Heed(NamedTuple):
    process: subprocess.Popen[str]
    url: str
    token: str
    """The admin's one-time set-up token; empty once an account exists."""
    data: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_heed(data: Path, config: Path, **environment: str) -> Heed:
    """`make up` on a free port, its output shown; returns when it says that it is ready."""
    variables = os.environ | {
        "HEED_DATA": str(data),
        "HEED_CONFIG": str(config),
        "HEED_PORT": str(free_port()),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "up.py")],
        stdout=subprocess.PIPE,
        text=True,
        env=variables | environment,
        cwd=ROOT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        print("  " + line, end="", flush=True)
        if line.startswith("Heed is ready"):
            link = next(word for word in line.split() if word.startswith("http://"))
            url, _, token = link.partition("/setup#token=")
            return Heed(process, url.rstrip("/"), token, data)
    raise SystemExit(f"Heed did not start: see {data / 'logs'}")


def stop_heed(heed: Heed) -> None:
    """Ctrl-C, then wait until everything is gone."""
    heed.process.send_signal(signal.SIGTERM)
    heed.process.wait(timeout=90)
    if heed.process.stdout is not None:
        heed.process.stdout.close()
