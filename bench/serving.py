"""Serving: our server against the same engine called directly in the same run, its own cost, and the swaps.

    make bench        or   python -m bench.serving          (ten minutes on two cores)

1. Throughput: the client of vLLM's own serving benchmark asks both ways in turn; medians of paired rounds.
2. Time to the first token of one chat, both ways in turn.
3. What the server costs: CPU time for 1,000 tokens, memory and CPU of 500 idle SSE clients.
4. A swap under streams: seconds, longest gap, with one engine and with two.
5. Growth with the number of engines, which answer by the clock (`bench.growth`).
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import psutil

from bench.growth import grow
from bench.load import (
    TOKENS,
    Way,
    chat,
    cpu_of,
    idle_share,
    one_round,
    p50_p95,
    paired,
    ratios,
    ways_to,
)
from scripts.loop.client import Client, session
from scripts.started import ROOT, Heed, start_heed, stop_heed
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies
from store.records import PolicyVersion, now

LOADS = ((1, 2, 11), (8, 1, 11), (32, 1, 11), (64, 1, 11))
"""Chats at once, questions of each, pairs of rounds."""
FIRST_TOKENS = 60
IDLE = 500
CONFIG = ROOT / "configs" / "default.toml"


async def compare(ways: dict[str, Way], server: psutil.Process) -> None:
    for way in ways.values():
        await one_round(way, 4, 1, salt=0)
    print(
        f"{'chats':>5} {'direct tok/s':>13} {'heed tok/s':>11} {'ratio':>6} {'quartiles':>15}"
        f" {'first token ms, direct p50/p95':>31} {'heed p50/p95':>16}"
    )
    idle = await idle_share(server)
    cpu_s, tokens = 0.0, 0
    for chats, each, rounds in LOADS:
        before, began = cpu_of(server), time.monotonic()
        found = await paired(ways, chats, each, rounds, salt=chats * 1000)
        cpu_s += cpu_of(server) - before - idle * (time.monotonic() - began)
        tokens += sum(one.tokens for one in found["heed"])
        speed = {name: sorted(one.tokens_per_s for one in found[name])[rounds // 2] for name in ways}
        first = {name: p50_p95([s for one in found[name] for s in one.first_token_s]) for name in ways}
        low, middle, high = ratios(found)
        print(
            f"{chats:>5} {speed['direct']:>13.1f} {speed['heed']:>11.1f} {middle:>6.3f}"
            f" {low:>6.3f} to {high:>5.3f}"
            f" {first['direct'][0]:>23.0f} /{first['direct'][1]:>6.0f}"
            f" {first['heed'][0]:>9.0f} /{first['heed'][1]:>5.0f}",
            flush=True,
        )
    print(
        f"CPU of the server: {cpu_s / tokens * 1000:.3f} s for 1,000 tokens (over {tokens} tokens), beside"
        f" {idle:.1%} of a core when nobody asks"
    )


async def first_token(ways: dict[str, Way]) -> None:
    """One chat at a time, both ways in turn, each prompt new."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(FIRST_TOKENS):
        order = list(ways) if number % 2 else list(ways)[::-1]
        for place, name in enumerate(order):
            found[name].append((await chat(ways[name], 10**7 + number * 2 + place, 4)).ttft)
    direct, ours = p50_p95(found["direct"]), p50_p95(found["heed"])
    print(
        f"first token, one chat: direct p50 {direct[0]:.1f} p95 {direct[1]:.1f} ms, heed {ours[0]:.1f} and"
        f" {ours[1]:.1f} ms: added {ours[0] - direct[0]:.1f} and {ours[1] - direct[1]:.1f} ms"
    )


async def idle_clients(heed: Heed, headers: dict[str, str], server: psutil.Process) -> None:
    """Open pages that wait for events."""
    before = server.memory_info().rss
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:
        pages = await asyncio.gather(*(http.get(f"{heed.url}/api/v1/events") for _ in range(IDLE)))
        if wrong := Counter(page.status for page in pages if page.status != 200):
            raise RuntimeError(f"pages were refused, by status: {dict(wrong)}")
        for page in pages:
            await page.content.readline()
        await asyncio.sleep(1)
        share = await idle_share(server)
        held = (server.memory_info().rss - before) / 2**20
        for page in pages:
            page.close()
    print(
        f"{IDLE} idle SSE clients: {held:.0f} MiB ({held * 1024 / IDLE:.0f} KiB each), {share:.1%} of a core;"
        f" the server before them {before / 2**20:.0f} MiB"
    )


async def swap(heed: Heed, way: Way, engines: int, streams: int = 8) -> None:
    """Publish a copy of the active version and activate it while streams run."""
    async with connect(f"unix://{heed.data / 'run' / 'redis.sock'}?db=0") as redis:
        policies = Policies(redis, heed.data)
        number = await publish_copy(heed, policies)
        gaps: list[float] = []
        stop = asyncio.Event()

        async def keep_asking(salt: int) -> None:
            while not stop.is_set():
                salt += 1
                gaps.append(max((await chat(way, salt)).itl))

        async with asyncio.TaskGroup() as group:
            for stream in range(streams):
                group.create_task(keep_asking(number * 10**8 + stream * 10**6))
            await asyncio.sleep(6)
            calm, gaps[:] = max(gaps, default=0.0), []
            began = time.monotonic()
            await policies.activate(number, "bench", "swap benchmark", expected=number - 1)
            while number not in (await policies.serving()).values():
                await asyncio.sleep(0.02)
            swapped = time.monotonic() - began
            await asyncio.sleep(4)
            stop.set()
    print(
        f"swap under {streams} streams, {engines} engine(s): {swapped:.2f} s from activation to serving;"
        f" longest gap in a stream {max(gaps):.2f} s (before {calm:.2f} s); {len(gaps)} answers, 0 failed",
        flush=True,
    )


async def publish_copy(heed: Heed, policies: Policies) -> int:
    """The active version once more, under the next number."""
    active = await policies.active()
    assert active is not None
    copy = Path(tempfile.mkdtemp(dir=heed.data)) / "copy"
    source = heed.data / "policies" / active.folder
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("manifest.json"))
    number = active.number + 1
    folder = f"v{number:04d}"
    sha256 = seal(copy, heed.data / "policies" / folder, {"version": number})
    version = PolicyVersion(
        number=number, parent=active.number, folder=folder, sha256=sha256, created_at=now()
    )
    await policies.register(version)
    return number


def server_of(heed: Heed) -> psutil.Process:
    children = psutil.Process(heed.process.pid).children(recursive=True)
    return next(child for child in children if child.cmdline()[-2:] == ["-m", "server"])


def memory(heed: Heed) -> None:
    print(f"{'process':<60} peak MiB")
    for process in psutil.Process(heed.process.pid).children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        title = " ".join(process.cmdline()).strip() or process.name()  # vLLM's titles end in blanks
        print(f"{title[-60:]:<60} {int(peak) / 1024:.0f}")


async def sign_in(heed: Heed, token: str) -> dict[str, str]:
    async with session() as http:
        await Client(http, heed.url).sign_in(token)
        return {"Authorization": http.headers["Authorization"]}


async def all_ready(heed: Heed, headers: dict[str, str]) -> None:
    async with session() as http:
        http.headers.update(headers)
        client = Client(http, heed.url)
        while {one["state"] for one in (await client.call("GET", "/api/v1/status"))["engines"]} != {"ready"}:
            await asyncio.sleep(0.5)


async def with_one_engine(heed: Heed) -> dict[str, str]:
    headers = await sign_in(heed, heed.token)
    await all_ready(heed, headers)
    async with ways_to(str(heed.data / "run" / "engine-1.sock"), heed.url, headers) as ways:
        server = server_of(heed)
        await compare(ways, server)
        await first_token(ways)
        await idle_clients(heed, headers, server)
        await swap(heed, ways["heed"], engines=1)
    memory(heed)
    return headers


async def with_two_engines(heed: Heed, headers: dict[str, str]) -> None:
    await all_ready(heed, headers)
    async with ways_to(str(heed.data / "run" / "engine-1.sock"), heed.url, headers) as ways:
        await swap(heed, ways["heed"], engines=2)


def main() -> None:
    data = Path(tempfile.mkdtemp(prefix="heed-bench-"))
    started = began = time.monotonic()
    heed = start_heed(data, CONFIG, HEED_ENGINE_COUNT="1")
    first = time.monotonic() - began
    print(f"{TOKENS} tokens an answer")
    try:
        headers = asyncio.run(with_one_engine(heed))
    finally:
        stop_heed(heed)
    began = time.monotonic()
    again = start_heed(data, CONFIG, HEED_ENGINE_COUNT="2")
    second = time.monotonic() - began
    try:
        asyncio.run(with_two_engines(again, headers))
    finally:
        stop_heed(again)
    print(f"ready after {first:.0f} s (first start, model conversion included), {second:.0f} s (second)")
    shutil.rmtree(data)
    grow()
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
