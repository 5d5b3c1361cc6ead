"""Real vLLM engines for tests: a tiny model in versions of its own, and a server's pool over them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from bench.marked import LETTERS, publish_marked
from server.engines import moves, reconcile
from server.engines.client import Delta, EngineClient
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies, write_pointer
from store.records import ChatTurn, PolicyVersion, Sampling, now
from trainer.tiny import make_tiny

SAY = [ChatTurn(role="user", content="Say something.")]
LONG = Sampling(max_tokens=1800, temperature=0)  # greedy never meets the end token here
WITH_NAN, OVERFLOWING = 3, 4
"""Versions that must not be served; 1 and 2 are sound."""
MARKED = (6, 7, 8)
"""Versions that speak letters of their own only."""
PROMPTS = ("Hi", "What is two plus two?", "Name three colours.", "Tell me more. " * 20)


class Process:
    """One real engine."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.home = home
        self.address = f"unix://{home / name}.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "server.engines.launch", "--name", self.name]
        with open(self.home / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--socket", self.address.removeprefix("unix://")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"HEED_DATA": str(self.home)},
            )

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def started(home: Path, *names: str) -> Iterator[list[Process]]:
    """Engines on version 1."""
    write_pointer(home, "v0001")
    processes = [Process(home, name) for name in names]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def publish_all(home: Path) -> None:
    """The versions that the tests know."""
    (home / "policies").mkdir()
    publish(home, 1)
    publish(home, 2)
    publish(home, WITH_NAN, nan)
    publish(home, OVERFLOWING, overflowing)
    for number in MARKED:
        publish_marked(home, number, LETTERS[number - MARKED[0]])


def publish(
    home: Path, number: int, change: Callable[[str, torch.Tensor], torch.Tensor] | None = None
) -> None:
    """Seal a tiny policy with weights of its own as this version; `change` may break them."""
    made = make_tiny(home / f"made-{number}", seed=number)
    if change is not None:
        weights = load_file(made / "model.safetensors")
        weights = {name: change(name, tensor).contiguous() for name, tensor in weights.items()}
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    seal(made, home / "policies" / f"v{number:04d}", {"version": number})


def nan(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, torch.nan) if name == "model.norm.weight" else tensor


def overflowing(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Finite, but what is computed with it is not."""
    return (tensor.float() * 1e30).to(tensor.dtype) if "_proj" in name else tensor


class Site:
    """A registry as empty as Redis is at each test, and a server's pool over engines that live on."""

    def __init__(self, home: Path, policies: Policies, processes: list[Process]) -> None:
        self.policies = policies
        self.home = home
        clients = [EngineClient(process.name, process.address) for process in processes]
        self.pool = EnginePool(clients, max_model_len=2048, places=64)
        self.pool.drives = True

    async def settled(self, on: int, engines: int = 1, timeout_s: float = 20) -> float:
        """Reconcile until so many engines answer and `on` serves; how long it took in seconds."""
        began = time.monotonic()
        while self.pool.serving != on or self._ready() < engines or on not in self.pool.served():
            await reconcile.look(self.pool, self.policies)
            await moves.settle(self.pool, self.policies)
            assert time.monotonic() - began < timeout_s, self.pool.statuses()
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def _ready(self) -> int:
        return sum(status.state == "ready" for status in self.pool.statuses())

    async def activate(self, number: int, expected: int = 1) -> None:
        await self.policies.activate(number, "test", "better", expected=expected)

    async def said(self, engine: str | None = None) -> list[tuple[int, ...]]:
        """Greedy answers of the engine that serves now, or of a named one."""
        lease = await self.pool.lease(user="me")
        await lease.release()
        by_name = {one.name: one.client for one in self.pool.engines}
        client = by_name[engine or lease.engine.name]
        return [(await client.greedy(prompt, 12)).token_ids for prompt in PROMPTS]


class serving:
    """A site with every version registered and version 1 active and served."""

    def __init__(self, home: Path, processes: list[Process], redis_url: str) -> None:
        self.redis = connect(redis_url)
        self.site = Site(home, Policies(self.redis, home), processes)
        self.count = len(processes)

    async def __aenter__(self) -> Site:
        for number in (1, 2, WITH_NAN, OVERFLOWING, *MARKED):
            version = PolicyVersion(number=number, folder=f"v{number:04d}", sha256="", created_at=now())
            await self.site.policies.register(version)
        await self.site.policies.activate(1, "test", "base", expected=None)
        await self.site.pool.open()
        await self.site.settled(on=1, engines=self.count, timeout_s=240)
        return self.site

    async def __aexit__(self, *_: object) -> None:
        await self.site.pool.close()
        await self.redis.aclose()


class Said(NamedTuple):
    lease: Lease
    text: str
    end: Delta


async def until_stopped(
    site: Site, stop: asyncio.Event, sampling: Sampling, begun: set[int] | None = None
) -> list[Said]:
    """Ask again and again; `begun` gets the versions that answer."""
    answers = []
    while not stop.is_set():
        lease = await site.pool.lease(user="me")
        if begun is not None:
            begun.add(lease.version)
        deltas = [delta async for delta in site.pool.stream(lease, SAY, sampling)]
        await lease.release()
        answers.append(Said(lease, "".join(delta.text for delta in deltas), deltas[-1]))
    return answers


async def running(client: EngineClient) -> float:
    """Requests that vLLM's scheduler works on."""
    async with client.session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))
