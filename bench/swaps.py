"""Zero dropped: hot swaps and rollbacks under concurrent answers, on real vLLM through the whole server.

    python -m bench.swaps [--swaps 100] [--streams 32]

Two engines, four tiny versions that speak different letters. Every answer is read to its end: one that
failed, was cut short or holds letters of two versions is an error. Beside it: a restart of vLLM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from bench.marked import LETTERS, publish_marked
from scripts.started import ROOT, free_port
from server.engines.client import EngineClient
from server.errors import EngineFailed
from store.accounts import Accounts
from store.api_keys import ApiKeys
from store.connection import Redis, StoreUnavailable, connect
from store.embedded import find_server_binary, server_arguments
from store.policies import Policies, write_pointer
from store.records import PolicyVersion, now

TOKENS = 48
CALM_S = 15.0
PATIENCE_S = 300.0


@dataclass
class Seen:
    """What those who ask have seen."""

    answers: Counter[int] = field(default_factory=Counter)
    """Whole answers by version."""
    wrong: list[str] = field(default_factory=list)
    begun: dict[int, float] = field(default_factory=dict)
    """Version -> when its newest answer began."""
    longest_gap_s: float = 0.0
    """Between two pieces of one answer."""
    longest_wait_s: float = 0.0
    """From the question to the first piece."""


async def ask(
    http: aiohttp.ClientSession, url: str, secret: str, seen: Seen, number: int, stop: asyncio.Event
) -> None:
    """One person: question after question."""
    headers = {"Authorization": f"Bearer {secret}"}
    turn = 0
    while not stop.is_set():
        turn += 1
        body = {
            "model": "active",
            "messages": [{"role": "user", "content": f"Question {turn} of {number}"}],
            "max_tokens": TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        text, finish_reason, tokens, version = "", None, 0, 0
        asked = last = time.monotonic()
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                if response.status != 200:
                    raise RuntimeError(f"{response.status}: {await response.text()}")
                async for chunk in data_lines(response):
                    at = time.monotonic()
                    version = int((chunk.get("system_fingerprint") or "v0")[1:])
                    for choice in chunk["choices"]:
                        finish_reason = choice["finish_reason"] or finish_reason
                        piece = choice["delta"].get("content") or ""
                        if piece and not text:
                            seen.begun[version] = at
                            seen.longest_wait_s = max(seen.longest_wait_s, at - asked)
                        elif piece:
                            seen.longest_gap_s = max(seen.longest_gap_s, at - last)
                        text, last = text + piece, at
                    tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            seen.wrong.append(f"failed: {error!r}")
            continue
        if finish_reason != "length" or tokens != TOKENS or len(text) != TOKENS:
            seen.wrong.append(f"cut short: {finish_reason}, {tokens} tokens, {len(text)} letters")
        elif not set(text) <= set(LETTERS[version - 1]):
            seen.wrong.append(f"v{version} said {text}")
        else:
            seen.answers[version] += 1


async def swap_and_roll_back(policies: Policies, seen: Seen, swaps: int) -> dict[str, list[float]]:
    """Two swaps forward, two rollbacks, and so on; seconds from each act to the first word of its version."""
    took: dict[str, list[float]] = {"swap": [], "rollback": []}
    for act in range(swaps):
        active = await policies.active()
        assert active is not None
        began = time.monotonic()
        if act % 4 < 2:
            target = active.number % len(LETTERS) + 1
            await policies.activate(target, "bench", "forward", expected=active.number)
        else:
            target = (await policies.rollback("bench", "back")).number
        while seen.begun.get(target, 0) < began:
            await asyncio.sleep(0.01)
            if time.monotonic() - began > PATIENCE_S or seen.wrong:
                return took
        took["swap" if act % 4 < 2 else "rollback"].append(seen.begun[target] - began)
    return took


@contextmanager
def process(log: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with children of its own, ended with all of them."""
    with open(log, "ab") as out:
        started = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=ROOT, env=os.environ | environment, start_new_session=True
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def engine_command(socket: Path) -> tuple[str, ...]:
    return sys.executable, "-m", "server.engines.launch", "--name", socket.stem, "--socket", str(socket)


async def until_answering(socket: Path, ready_to_fail: subprocess.Popen[bytes]) -> float:
    """Seconds until an engine that starts now gives its first words."""
    client, began = EngineClient(socket.stem, f"unix://{socket}"), time.monotonic()
    await client.open()
    try:
        while True:
            try:
                await client.greedy("Hi", 1)
                return time.monotonic() - began
            except EngineFailed:
                if ready_to_fail.poll() is not None or time.monotonic() - began > PATIENCE_S:
                    raise
                await asyncio.sleep(0.1)
    finally:
        await client.close()


async def run(home: Path, swaps: int, streams: int) -> bool:
    """Start everything, swap, print the figures; whether nothing was dropped or mixed."""
    redis_url, port = f"unix://{home / 'redis.sock'}?db=0", free_port()
    sockets = [home / f"engine-{number}.sock" for number in (1, 2)]
    where = {
        "HEED_DATA": str(home),
        "HEED_REDIS_URL": redis_url,
        "HEED_PORT": str(port),
        "HEED_ENGINES": ",".join(f"unix://{socket}" for socket in sockets),
    }
    (home / "redis").mkdir()
    server_command = (str(find_server_binary()), *server_arguments(home, home / "redis.sock"))
    with process(home / "redis.log", *server_command):
        redis = connect(redis_url)
        policies = Policies(redis, home)
        await prepare(policies, home)
        secrets = [await api_key(redis, home, number) for number in range(streams)]
        with (
            process(home / "engine-1.log", *engine_command(sockets[0]), **where),
            process(home / "engine-2.log", *engine_command(sockets[1]), **where) as second,
            process(home / "server.log", sys.executable, "-m", "server", **where),
        ):
            await until_answering(sockets[1], second)
            while [one.state for one in await policies.engines()] != ["ready", "ready"]:
                await asyncio.sleep(0.2)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                ok = await measure(http, f"http://127.0.0.1:{port}", secrets, policies, swaps)
        with process(home / "engine-1.log", *engine_command(sockets[0]), **where) as alone:
            restart_s = await until_answering(sockets[0], alone)
        print(f"restart of vLLM instead: {restart_s:.1f} s without answers, all under way lost")
        await redis.aclose()
    return ok


async def measure(
    http: aiohttp.ClientSession, url: str, secrets: list[str], policies: Policies, swaps: int
) -> bool:
    """First no swaps, then all of them; prints both, and says whether every answer was whole."""
    calm, seen = Seen(), Seen()
    for phase in (calm, seen):
        stop = asyncio.Event()
        asking = [
            asyncio.create_task(ask(http, url, secret, phase, number, stop))
            for number, secret in enumerate(secrets)
        ]
        began = time.monotonic()
        if phase is calm:
            await asyncio.sleep(CALM_S)
        else:
            took = await swap_and_roll_back(policies, phase, swaps)
        stop.set()
        spent = time.monotonic() - began
        await asyncio.gather(*asking)
        name = "no swaps" if phase is calm else f"{sum(map(len, took.values()))} swaps and rollbacks"
        print(
            f"{name}: {len(secrets)} streams, {phase.answers.total()} answers of {TOKENS} tokens"
            f" in {spent:.0f} s, {len(phase.wrong)} failed, cut short or mixed; longest gap in any stream"
            f" {phase.longest_gap_s:.2f} s, longest wait for the first word {phase.longest_wait_s:.2f} s"
        )
        for line in phase.wrong[:5]:
            print("  " + line)
    for name, times in took.items():
        if times:
            print(f"{name}: first word of the version after {median(times):.2f} s (longest {max(times):.2f})")
    done = sum(map(len, took.values()))
    if done < swaps:
        print(f"only {done} of {swaps} swaps were done")
    return not seen.wrong and not calm.wrong and done == swaps


async def prepare(policies: Policies, home: Path) -> None:
    """Four versions, the first one active."""
    for _ in range(100):
        try:
            await policies.active()
            break
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    for number in range(1, len(LETTERS) + 1):
        sha256 = publish_marked(home, number, LETTERS[number - 1])
        folder = f"v{number:04d}"
        await policies.register(PolicyVersion(number=number, folder=folder, sha256=sha256, created_at=now()))
    await policies.activate(1, "bench", "base", expected=None)
    write_pointer(home, "v0001")


async def data_lines(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a streamed answer. Raises RuntimeError when one says that it failed."""
    async for line in response.content:
        if line.startswith(b"data:") and b"[DONE]" not in line:
            chunk = json.loads(line[5:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"])
            yield chunk


async def api_key(redis: Redis, home: Path, number: int) -> str:
    """The key of one of the people."""
    account = await Accounts(redis, home).create(f"person {number}", "correct horse battery", "annotator")
    _, secret = await ApiKeys(redis).create(account.id, "bench")
    return secret


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100, help="swaps and rollbacks in all")
    parser.add_argument("--streams", type=int, default=32, help="answers at once")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="heed-swaps-", dir="/tmp"))  # a socket's path must be short
    try:
        ok = asyncio.run(run(home, arguments.swaps, arguments.streams))
    except BaseException:
        print(f"the logs are in {home}")
        raise
    if not ok:
        raise SystemExit(f"answers were dropped or mixed: the logs are in {home}")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
