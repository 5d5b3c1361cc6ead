"""A registry on real Redis, sealed folders, and a pool over fake vLLM servers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from server.engines import moves, reconcile
from server.engines.client import EngineClient
from server.engines.pool import EnginePool
from store.artifacts import seal
from store.connection import Redis, connect
from store.engines import EngineRegistry
from store.policies import Policies
from store.records import Fingerprint, GateReport, PolicyVersion, now
from tests.fake_vllm import FakeVllm

PROMPTS = ("What is two plus two?", "Name three colours.")


class Site:
    """A volume, its registry, engines and the pool of one server."""

    def __init__(self, home: Path, redis: Redis) -> None:
        self.home = home
        self.policies = Policies(redis, home)
        self.registry = EngineRegistry(redis)
        self.engines: list[FakeVllm] = []
        self.pool = self._pool()

    def _pool(self) -> EnginePool:
        clients = [EngineClient(engine.socket.stem, engine.address) for engine in self.engines]
        pool = EnginePool(clients, max_model_len=2048, places=8)
        pool.drives = True
        return pool

    async def start(self, count: int) -> EnginePool:
        """So many engines on version 1, all seen."""
        await self.publish(1)
        await self.policies.activate(1, "test", "base", expected=None)
        for number in range(1, count + 1):
            engine = FakeVllm(self.home / f"engine-{number}.sock", self.home / "policies" / "v0001")
            await engine.start()
            self.engines.append(engine)
        return await self.server()

    async def server(self) -> EnginePool:
        """A server that starts now (again)."""
        await self.pool.close()
        self.pool = self._pool()
        await self.pool.open()
        await self.step()
        return self.pool

    async def publish(self, number: int, *, finite: bool = True, gated: bool = False) -> PolicyVersion:
        """A sealed, registered version; `gated`: with the greedy answers that its engine should give."""
        made = self.home / f"made-{number}"
        made.mkdir()
        value = float(number) if finite else np.nan
        save_file({"lm_head.weight": np.full((2, 2), value, np.float32)}, made / "model.safetensors")
        folder = f"v{number:04d}"
        sha256 = seal(made, self.home / "policies" / folder, {"version": number})
        said = tuple(Fingerprint(prompt=prompt, token_ids=(number,) * 4) for prompt in PROMPTS)
        report = GateReport(passed=True, checks=(), fingerprints=said) if gated else None
        version = PolicyVersion(number=number, folder=folder, sha256=sha256, report=report, created_at=now())
        await self.policies.register(version)
        return version

    async def activate(self, number: int, expected: int = 1) -> None:
        await self.policies.activate(number, "test", "better", expected=expected)

    async def step(self, times: int = 1) -> None:
        """What the reconciler does in a tick."""
        for _ in range(times):
            await reconcile.look(self.pool, self.policies)
            await moves.settle(self.pool, self.policies)
            await reconcile.look(self.pool, self.policies)

    def forget_calls(self) -> None:
        for engine in self.engines:
            engine.calls.clear()

    async def state(self, number: int) -> str:
        version = await self.policies.get(number)
        assert version is not None
        return version.state


@pytest.fixture
def home() -> Iterator[Path]:
    # A Unix socket's path holds at most 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    (folder / "policies").mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def site(home: Path, redis_url: str) -> AsyncIterator[Site]:
    redis = connect(redis_url)
    site = Site(home, redis)
    yield site
    await site.pool.close()
    for engine in site.engines:
        await engine.die()
    await redis.aclose()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Failed loads are tried again without a pause."""
    return lambda: monkeypatch.setattr(moves, "RETRY_S", 0.0)
