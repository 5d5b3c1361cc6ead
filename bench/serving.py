"""Serving: tokens/s and time to first token through our server against the same engine called directly,
then swap time, the longest gap any stream sees, and the peak memory of each process.

    make bench        or   python -m bench.serving

Direct and relayed rounds alternate in one run on one engine; the ratio of medians is the figure.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import aiohttp
import psutil

from scripts.loop import Client, session
from scripts.started import ROOT, Heed, start_heed, stop_heed
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies
from store.records import PolicyVersion, now

ROUNDS = 5
TOKENS = 64
PROMPT = "Tell me something about the number {}."


class Round(NamedTuple):
    tokens_per_s: float
    first_token_s: float
    longest_gap_s: float


async def one_chat(
    http: aiohttp.ClientSession, url: str, model: str, number: int
) -> tuple[int, float, float]:
    """Tokens, seconds to the first text, longest gap between two texts of one streamed answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT.format(number)}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = last = time.monotonic()
    first, gap, tokens = 0.0, 0.0, 0
    async with http.post(url, json=body) as response:
        response.raise_for_status()
        async for chunk in data_lines(response):
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                at = time.monotonic()
                first = first or at - began
                gap = max(gap, at - last)
                last = at
    return tokens, first, gap


async def data_lines(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data:") and b"[DONE]" not in line:
            chunk = json.loads(line[5:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"])
            yield chunk


async def one_round(http: aiohttp.ClientSession, url: str, model: str, chats: int, salt: int) -> Round:
    began = time.monotonic()
    results = await asyncio.gather(
        *(one_chat(http, url, model, salt * 1000 + number) for number in range(chats))
    )
    spent = time.monotonic() - began
    return Round(
        sum(tokens for tokens, _, _ in results) / spent,
        median(first for _, first, _ in results),
        max(gap for _, _, gap in results),
    )


async def compare(heed: Heed, headers: dict[str, str]) -> None:
    socket = heed.data / "run" / "engine-1.sock"
    connector = aiohttp.UnixConnector(path=str(socket))
    async with (
        aiohttp.ClientSession(connector=connector) as direct,
        aiohttp.ClientSession(headers=headers) as relayed,
    ):
        ways = {
            "direct": (direct, "http://engine/v1/chat/completions", "policy"),
            "heed": (relayed, heed.url + "/v1/chat/completions", "active"),
        }
        for way in ways.values():
            await one_round(*way, 4, salt=0)
        print(
            f"{'chats':>5} {'direct tok/s':>13} {'heed tok/s':>11} {'ratio':>6} {'added to first token':>22}"
        )
        for chats in (1, 8, 32):
            rounds: dict[str, list[Round]] = {name: [] for name in ways}
            for salt in range(1, ROUNDS + 1):
                order = list(ways) if salt % 2 else list(ways)[::-1]
                for place, name in enumerate(order):
                    # A prompt is asked once by each way, so that neither finds it in the prefix cache alone.
                    rounds[name].append(await one_round(*ways[name], chats, salt * 10 + place))
            speed = {name: median(r.tokens_per_s for r in rounds[name]) for name in ways}
            first = {name: median(r.first_token_s for r in rounds[name]) for name in ways}
            added_ms = (first["heed"] - first["direct"]) * 1000
            ratio = speed["heed"] / speed["direct"]
            row = f"{chats:>5} {speed['direct']:>13.1f} {speed['heed']:>11.1f} {ratio:>6.3f}"
            print(f"{row} {added_ms:>19.1f} ms")


async def swap(heed: Heed, headers: dict[str, str], streams: int = 8) -> None:
    """Publish a copy of the active version and activate it while streams run."""
    policies = Policies(connect(f"unix://{heed.data / 'run' / 'redis.sock'}?db=0"), heed.data)
    active = await policies.active()
    assert active is not None
    source = heed.data / "policies" / active.folder
    copy = Path(tempfile.mkdtemp(dir=heed.data)) / "copy"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("manifest.json"))
    number = active.number + 1
    folder = f"v{number:04d}"
    sha256 = seal(copy, heed.data / "policies" / folder, {"version": number})
    version = PolicyVersion(
        number=number, parent=active.number, folder=folder, sha256=sha256, created_at=now()
    )
    await policies.register(version)

    gaps: list[float] = []
    stop = asyncio.Event()

    async def keep_asking(http: aiohttp.ClientSession, salt: int) -> None:
        while not stop.is_set():
            salt += 1
            gaps.append((await one_chat(http, heed.url + "/v1/chat/completions", "active", salt))[2])

    async with aiohttp.ClientSession(headers=headers) as http, asyncio.TaskGroup() as group:
        for stream in range(streams):
            group.create_task(keep_asking(http, stream * 100_000))
        await asyncio.sleep(10)
        calm, gaps[:] = max(gaps, default=0.0), []
        began = time.monotonic()
        await policies.activate(number, "bench", "swap benchmark", expected=active.number)
        while number not in (await policies.serving()).values():
            await asyncio.sleep(0.05)
        swapped = time.monotonic() - began
        await asyncio.sleep(5)
        stop.set()
    print(
        f"swap under {streams} streams: {swapped:.2f} s from activation to serving; longest gap in any stream"
        f" {max(gaps):.2f} s (before the swap {calm:.2f} s); {len(gaps)} answers, 0 failed"
    )


def memory(heed: Heed) -> None:
    print(f"{'process':<60} peak MiB")
    for process in psutil.Process(heed.process.pid).children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
        title = " ".join(process.cmdline()).strip() or process.name()  # vLLM's titles end in blanks
        print(f"{title[-60:]:<60} {int(peak) / 1024:.0f}")


async def measure(heed: Heed) -> None:
    async with session() as http:
        client = Client(http, heed.url)
        await client.sign_in(heed.token)
        headers = {"Authorization": http.headers["Authorization"]}
        while not all(
            engine["state"] == "ready" for engine in (await client.call("GET", "/api/v1/status"))["engines"]
        ):
            await asyncio.sleep(1)
    await compare(heed, headers)
    await swap(heed, headers)
    memory(heed)


def main() -> None:
    data = Path(tempfile.mkdtemp(prefix="heed-bench-"))
    began = time.monotonic()
    heed = start_heed(data, ROOT / "configs" / "default.toml")
    first = time.monotonic() - began
    try:
        asyncio.run(measure(heed))
    finally:
        stop_heed(heed)
    began = time.monotonic()
    again = start_heed(data, ROOT / "configs" / "default.toml")
    second = time.monotonic() - began
    stop_heed(again)
    print(f"ready after {first:.0f} s (first start, model conversion included), {second:.0f} s (second)")
    shutil.rmtree(data)


if __name__ == "__main__":
    main()
