"""The load: chats asked by the client of vLLM's own serving benchmark (`vllm bench serve`), paired rounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import NamedTuple

import aiohttp
import psutil
from vllm.benchmarks.lib.endpoint_request_func import (
    RequestFuncInput,
    RequestFuncOutput,
    async_request_openai_chat_completions,
)

TOKENS = 64
PROMPT = "Tell me something about the number {}."


@dataclass(frozen=True)
class Way:
    """A way to the engine."""

    http: aiohttp.ClientSession
    url: str
    model: str
    headers: dict[str, str]


class Round(NamedTuple):
    tokens_per_s: float
    tokens: int
    first_token_s: list[float]
    longest_gap_s: float


@asynccontextmanager
async def ways_to(engine: str, url: str, headers: dict[str, str]) -> AsyncIterator[dict[str, Way]]:
    """The engine's socket called directly, and through our server."""
    # More idle connections than chats: neither way connects anew in a round.
    direct = aiohttp.UnixConnector(path=engine, limit=0)
    relayed = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=direct) as one,
        aiohttp.ClientSession(connector=relayed) as two,
    ):
        yield {
            "direct": Way(one, "http://engine/v1/chat/completions", "policy", {}),
            "heed": Way(two, f"{url}/v1/chat/completions", "active", headers),
        }


async def chat(way: Way, number: int, tokens: int = TOKENS) -> RequestFuncOutput:
    """One greedy, streamed answer of exactly so many tokens."""
    asked = RequestFuncInput(
        prompt=PROMPT.format(number),
        api_url=way.url,
        prompt_len=0,
        output_len=tokens,
        model=way.model,
        extra_headers=way.headers,
        extra_body={"temperature": 0},
        ignore_eos=True,
    )
    said: RequestFuncOutput = await async_request_openai_chat_completions(asked, way.http)
    if not said.success or said.output_tokens != tokens:
        raise RuntimeError(f"{way.url} answered with {said.output_tokens} tokens: {said.error}")
    return said


async def one_round(way: Way, chats: int, each: int, salt: int, tokens: int = TOKENS) -> Round:
    """So many people who each ask `each` questions, one after the other. A prompt is never asked twice."""

    async def person(number: int) -> list[RequestFuncOutput]:
        return [await chat(way, (salt * 100 + number) * 10 + turn, tokens) for turn in range(each)]

    began = time.monotonic()
    said = [one for answers in await asyncio.gather(*map(person, range(chats))) for one in answers]
    spent = time.monotonic() - began
    total = sum(one.output_tokens for one in said)
    gap = max(max(one.itl) for one in said)
    return Round(total / spent, total, [one.ttft for one in said], gap)


async def paired(
    ways: dict[str, Way], chats: int, each: int, rounds: int, salt: int
) -> dict[str, list[Round]]:
    """Rounds of both ways in turn, the first one changing."""
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for number in range(rounds):
        order = list(ways) if number % 2 else list(ways)[::-1]
        for place, name in enumerate(order):
            found[name].append(await one_round(ways[name], chats, each, salt + number * 10 + place))
    return found


def ratios(found: dict[str, list[Round]]) -> tuple[float, float, float]:
    """Quartiles over the pairs of rounds: our throughput over the engine's own."""
    pairs = zip(found["heed"], found["direct"], strict=True)
    low, middle, high = quantiles((ours.tokens_per_s / own.tokens_per_s for ours, own in pairs), n=4)
    return low, middle, high


def p50_p95(seconds: list[float]) -> tuple[float, float]:
    """In milliseconds."""
    return median(seconds) * 1000, quantiles(seconds, n=20)[-1] * 1000


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds that it has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def idle_share(process: psutil.Process, seconds: float = 5.0) -> float:
    """Share of a core that it uses while nobody asks."""
    before, began = cpu_of(process), time.monotonic()
    await asyncio.sleep(seconds)
    return (cpu_of(process) - before) / (time.monotonic() - began)
