"""Which settings make vLLM answer fastest on this machine: one engine for each, the same chats.

    python -m bench.engine_settings FOLDER [NAME ...]

FOLDER is a servable model; all settings, or those named. Each engine is started with the command and the
environment of `server.engines.launch`, changed as below, and asked by the client of vLLM's own serving
benchmark: greedy answers of 64 tokens, medians of three rounds. One engine after the other, `shipped` first
and last: what these two differ by is the machine's noise.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

import aiohttp
import psutil

from bench.load import Way, one_round
from server.engines.launch import command, environment, on_gpu
from server.settings import EngineConfig

ROUNDS = 3


class Setting(NamedTuple):
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})


IOMP = str(Path(sys.prefix) / "lib" / "libiomp5.so")
SETTINGS = {
    "shipped": Setting(),
    "block-64": Setting(("--block-size", "64")),
    "block-128": Setting(("--block-size", "128")),
    "stream-2": Setting(("--stream-interval", "2")),
    "no-split-kv": Setting(environment={"VLLM_CPU_ATTN_SPLIT_KV": "0"}),
    "iomp": Setting(environment={"LD_PRELOAD": IOMP, "KMP_BLOCKTIME": "0"}),
    "iomp-2-threads": Setting(environment={"LD_PRELOAD": IOMP, "KMP_BLOCKTIME": "1", "OMP_NUM_THREADS": "2"}),
    "2-threads": Setting(environment={"OMP_NUM_THREADS": "2"}),
    "bind": Setting(environment={"VLLM_CPU_OMP_THREADS_BIND": "0"}),
    "no-prefix-cache": Setting(("--no-enable-prefix-caching",)),
    "no-stats": Setting(("--disable-log-stats",)),
}


def measure(name: str, setting: Setting, folder: Path, home: Path) -> None:
    """Start an engine so, ask it, end it."""
    socket, engine, gpu = home / f"{name}.sock", EngineConfig(), on_gpu()
    socket.unlink(missing_ok=True)  # of the same setting before
    with open(home / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            [*command(folder, socket, engine.max_model_len, gpu=gpu), *setting.arguments],
            env={**environment(engine.kv_cache_gib, gpu=gpu), **setting.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        print(f"{name:>16}{asyncio.run(ask(socket, process))}", flush=True)
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()


async def ask(socket: Path, process: subprocess.Popen[bytes]) -> str:
    """A row of the table."""
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket), limit=0)) as http:
        while not await healthy(http):
            if process.poll() is not None:
                return " does not start: see its log"
            await asyncio.sleep(0.2)
        ready = time.monotonic() - began
        way = Way(http, "http://engine/v1/chat/completions", "policy", {})
        await one_round(way, 4, 1, salt=0)
        row, gap = "", 0.0
        before, began = cpu_of(process), time.monotonic()
        for chats in (1, 8, 32, 64):
            rounds = [await one_round(way, chats, 1, chats * 1000 + number) for number in range(ROUNDS)]
            row += f" {median(one.tokens_per_s for one in rounds):>7.1f}"
            gap = max(gap, *(one.longest_gap_s for one in rounds))
        cores = (cpu_of(process) - before) / (time.monotonic() - began)
        return f"{row} {cores:>6.2f} {gap:>8.2f} {ready:>8.0f}"


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


async def healthy(http: aiohttp.ClientSession) -> bool:
    with suppress(aiohttp.ClientError, OSError):
        async with http.get("http://engine/health") as response:
            return response.status == 200
    return False


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or [*SETTINGS, "shipped"]
    home = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; logs in {home}")
    print(
        f"{'tokens/s at':>16} {'1':>7} {'8':>7} {'32':>7} {'64':>7} {'cores':>6} {'gap s':>8} {'ready s':>8}"
    )
    for name in names:
        measure(name, SETTINGS[name], folder, home)


if __name__ == "__main__":
    main()
