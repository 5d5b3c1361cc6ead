"""What our server costs by itself, and how that grows with the engines: engines that answer by the clock.

    python -m bench.growth

Each engine is the tests' fake vLLM with a pace: 32 chats on each, 10 tokens a second for every chat. So what
is measured is our server, not a model: CPU time a token, time added to the first token, the longest gap that
a stream sees beyond the pace, the time from an activation to the new version's first answer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import numpy as np
import psutil
from safetensors.numpy import save_file

from bench.load import Way, chat, cpu_of, idle_share, one_round, p50_p95
from scripts.started import ROOT, free_port
from store.accounts import Accounts
from store.api_keys import ApiKeys
from store.artifacts import seal
from store.connection import connect
from store.embedded import find_server_binary, server_arguments
from store.policies import Policies
from store.records import PolicyVersion, now

CHATS = 32
PACE_S = 0.1
TOKENS = 32


@contextmanager
def running(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context lasts."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


async def publish(policies: Policies, home: Path, number: int) -> None:
    """A sealed, registered version that a fake can hold."""
    made = home / f"made-{number}"
    made.mkdir()
    save_file({"lm_head.weight": np.full((2, 2), float(number), np.float32)}, made / "model.safetensors")
    folder = f"v{number:04d}"
    sha256 = seal(made, home / "policies" / folder, {"version": number})
    await policies.register(PolicyVersion(number=number, folder=folder, sha256=sha256, created_at=now()))


async def measure(home: Path, count: int) -> None:
    (home / "policies").mkdir()
    (home / "redis").mkdir()
    (home / "config.toml").touch()
    redis_url, port = f"unix://{home / 'redis.sock'}?db=0", free_port()
    server = {
        "HEED_DATA": str(home),
        "HEED_REDIS_URL": redis_url,
        "HEED_CONFIG": str(home / "config.toml"),
        "HEED_PORT": str(port),
        "HEED_ENGINES": ",".join(f"unix://{home}/engine-{number}.sock" for number in range(1, count + 1)),
    }
    redis_command = [str(find_server_binary()), *server_arguments(home, home / "redis.sock")]
    with running(*redis_command, "--logfile", str(home / "redis.log")):
        while not (home / "redis.sock").exists():
            await asyncio.sleep(0.05)
        async with connect(redis_url) as redis:
            policies, accounts = Policies(redis, home), Accounts(redis, home)
            for number in (1, 2):
                await publish(policies, home, number)
            await policies.activate(1, "bench", "base", expected=None)
            people = []
            for number in range(count):
                account = await accounts.create(f"person {number}", "a long enough password", "admin")
                people.append((await ApiKeys(redis).create(account.id, "bench"))[1])
            with ExitStack() as stack:
                for number in range(1, count + 1):
                    fake = (sys.executable, "-m", "tests.fake_vllm", str(home / f"engine-{number}.sock"))
                    stack.enter_context(running(*fake, str(home / "policies" / "v0001"), str(PACE_S)))
                process = stack.enter_context(running(sys.executable, "-m", "server", **server))
                await under_load(f"http://127.0.0.1:{port}", home, people, process.pid, policies)


async def under_load(url: str, home: Path, secrets: list[str], pid: int, policies: Policies) -> None:
    count = len(secrets)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        people = [
            Way(http, f"{url}/v1/chat/completions", "active", {"Authorization": f"Bearer {secret}"})
            for secret in secrets
        ]
        await until_ready(http, url, people[0].headers, count)
        engine = aiohttp.UnixConnector(path=str(home / "engine-1.sock"))
        async with aiohttp.ClientSession(connector=engine) as own:
            direct = Way(own, "http://engine/v1/chat/completions", "policy", {})
            ttft: dict[str, list[float]] = {"direct": [], "heed": []}
            for number in range(40):
                ttft["direct"].append((await chat(direct, number, 2)).ttft)
                ttft["heed"].append((await chat(people[0], number, 2)).ttft)
        server = psutil.Process(pid)
        idle = await idle_share(server, 3)
        before, began = cpu_of(server), time.monotonic()
        rounds = await asyncio.gather(*(one_round(way, CHATS, 1, 1, TOKENS) for way in people))
        cpu = cpu_of(server) - before - idle * (time.monotonic() - began)
        tokens = sum(one.tokens for one in rounds)
        asking = asyncio.gather(*(one_round(way, 8, 2, 2, TOKENS) for way in people))
        await asyncio.sleep(1)
        began = time.monotonic()
        await policies.activate(2, "bench", "swap", expected=1)
        while 2 not in (await policies.serving()).values():
            await asyncio.sleep(0.01)
        swapped = time.monotonic() - began
        swap_gap = max(one.longest_gap_s for one in await asking)
    added = [(ours - own) for ours, own in zip(p50_p95(ttft["heed"]), p50_p95(ttft["direct"]), strict=True)]
    gap = max(one.longest_gap_s for one in rounds)
    rss = server.memory_info().rss / 2**20 if server.is_running() else 0
    print(
        f"{count:>7} {CHATS * count:>6} {sum(one.tokens_per_s for one in rounds):>8.0f}"
        f" {cpu / tokens * 1e6:>10.0f}"
        f" {added[0]:>9.1f} /{added[1]:>5.1f} {(gap - PACE_S) * 1000:>10.0f} {swapped:>8.2f}"
        f" {(swap_gap - PACE_S) * 1000:>10.0f} {rss:>7.0f} {idle:>7.1%}",
        flush=True,
    )


async def until_ready(http: aiohttp.ClientSession, url: str, headers: dict[str, str], count: int) -> None:
    while True:
        try:
            async with http.get(f"{url}/api/v1/status", headers=headers) as response:
                status = await response.json()
                if [engine["state"] for engine in status["engines"]] == ["ready"] * count:
                    return
        except (aiohttp.ClientError, KeyError):
            pass
        await asyncio.sleep(0.1)


def grow(counts: tuple[int, ...] = (1, 2, 4)) -> None:
    print(
        f"Our server over engines that answer by the clock, {CHATS} chats on each, {1 / PACE_S:.0f} tokens/s"
    )
    print(
        f"{'engines':>7} {'chats':>6} {'tokens/s':>8} {'us/token':>10} {'added ms p50/p95':>16}"
        f" {'gap+ ms':>10} {'swap s':>8} {'its gap+':>10} {'RSS MiB':>7} {'idle':>7}"
    )
    for count in counts:
        # A Unix socket's path holds at most 107 bytes.
        home = Path(tempfile.mkdtemp(prefix="heed-growth-", dir="/tmp"))
        asyncio.run(measure(home, count))
        shutil.rmtree(home)


if __name__ == "__main__":
    grow()
