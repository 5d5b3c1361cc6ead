"""Real vLLM engines behind the pool: streams, hot swap, refusal of bad weights, a killed engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from server.engines import reconcile
from server.engines.client import EngineClient
from server.engines.pool import EnginePool
from server.errors import EngineFailed, NoEngine
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies
from store.records import ChatTurn, PolicyVersion, Sampling, now
from trainer.tiny import make_tiny

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

SAY = [ChatTurn(role="user", content="Say something.")]
GREEDY = Sampling(max_tokens=12, temperature=0.0)


class Engine:
    """One real engine process on the volume's active version."""

    def __init__(self, volume: Path, name: str, log: Path) -> None:
        self.socket = volume / f"{name}.sock"
        self.name = name
        self.volume = volume
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "server.engines.launch", "--name", self.name]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--socket", str(self.socket)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"HEED_DATA": str(self.volume)},
            )

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A volume with version 1, in a short folder because of the sockets."""
    folder = Path(tempfile.mkdtemp(prefix="heed-e-", dir="/tmp"))
    (folder / "policies").mkdir()
    yield folder
    shutil.rmtree(folder)


def publish(home: Path, number: int, source: Path) -> PolicyVersion:
    folder = f"v{number:04d}"
    sha256 = seal(source, home / "policies" / folder, {"version": number})
    return PolicyVersion(number=number, folder=folder, sha256=sha256, created_at=now())


@pytest.fixture(scope="module")
def engines(home: Path) -> Iterator[list[Engine]]:
    """Two engines on version 1, started once: a load takes half a minute."""
    publish(home, 1, make_tiny(home / "made-1", seed=1))
    (home / "policies" / "ACTIVE").write_text("v0001\n")
    started = [Engine(home, f"engine-{number}", home / f"engine-{number}.log") for number in (1, 2)]
    for engine in started:
        engine.start()
    yield started
    for engine in started:
        engine.kill()


class Stack:
    """Registry and pool over the engines of this module, as fresh as Redis is at each test."""

    def __init__(self, policies: Policies, pool: EnginePool, home: Path) -> None:
        self.policies = policies
        self.pool = pool
        self.home = home

    async def until(self, ready: object, timeout_s: float = 90) -> None:
        """Reconcile until `ready()` is true."""
        assert callable(ready)
        deadline = time.monotonic() + timeout_s
        while not ready():
            await reconcile.look(self.pool, self.policies)
            await reconcile.settle(self.pool, self.policies)
            assert time.monotonic() < deadline, self.pool.statuses()
            await asyncio.sleep(0.1)

    async def greedy(self, version: int | None = None) -> str:
        lease = await self.pool.lease(version, user="me")
        text = "".join([delta.text async for delta in self.pool.stream(lease, SAY, GREEDY)])
        await lease.release()
        return text


@pytest.fixture
async def stack(home: Path, engines: list[Engine], redis_url: str) -> AsyncIterator[Stack]:
    """Both engines seen and on version 1."""
    redis = connect(redis_url)
    policies = Policies(redis, home)
    for folder in sorted((home / "policies").glob("v*")):
        number = int(folder.name.removeprefix("v"))
        await policies.register(PolicyVersion(number=number, folder=folder.name, sha256="", created_at=now()))
    await policies.activate(1, "test", "base", expected=None)
    clients = [EngineClient(engine.name, engine.address) for engine in engines]
    pool = EnginePool(clients, max_model_len=2048, queue_limit=64, per_user=64)
    await pool.open()
    stack = Stack(policies, pool, home)
    try:
        await stack.until(lambda: [s.state for s in pool.statuses()] == ["ready"] * 2, 240)
        await stack.until(lambda: pool.serving == 1)
        yield stack
    finally:
        await pool.close()
        await redis.aclose()


async def test_seeded_long_prompts_do_not_end_the_engine(stack: Stack) -> None:
    """vLLM 0.32 on CPU dies of a seeded request whose prompt is prefilled in chunks."""
    turns = [ChatTurn(role="user", content="x" * 1500)]

    async def one(seed: int) -> int:
        lease = await stack.pool.lease(user="me")
        sampling = Sampling(max_tokens=4, temperature=1.0, seed=seed)
        count = len([delta async for delta in stack.pool.stream(lease, turns, sampling)])
        await lease.release()
        return count

    assert all(await asyncio.gather(*(one(seed) for seed in range(12))))


async def test_a_swap_under_streams_drops_nothing_and_mixes_nothing(stack: Stack) -> None:
    first = await stack.greedy()
    second = publish(stack.home, 2, make_tiny(stack.home / "made-2", seed=2))
    await stack.policies.register(second)
    stop = asyncio.Event()
    seen: list[tuple[int, tuple[int, ...], int]] = []

    async def keep_asking() -> None:
        while not stop.is_set():
            lease = await stack.pool.lease(user="me")
            sampling = Sampling(max_tokens=40, temperature=1.0)
            tokens = [delta.response_tokens async for delta in stack.pool.stream(lease, SAY, sampling)]
            seen.append((lease.version, lease.versions, tokens[-1] or 0))
            await lease.release()

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(keep_asking())
        await asyncio.sleep(1)
        await stack.policies.activate(2, "test", "better", expected=1)
        await stack.until(lambda: stack.pool.serving == 2)
        await asyncio.sleep(1)
        stop.set()
    assert {version for version, _, _ in seen} == {1, 2}
    assert all(versions == (version,) for version, versions, _ in seen)
    assert all(tokens >= 1 for _, _, tokens in seen)
    other = await stack.greedy()
    assert other != first

    # The version before is still warm: going back is a pointer move, and its words are the old ones.
    await stack.policies.rollback("test", "worse")
    began = time.monotonic()
    await stack.until(lambda: stack.pool.serving == 1)
    assert time.monotonic() - began < 5
    assert await stack.greedy() == first


async def test_weights_with_nan_never_reach_an_engine(stack: Stack) -> None:
    made = make_tiny(stack.home / "made-3", seed=3)
    weights = load_file(made / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    await stack.policies.register(publish(stack.home, 3, made))
    before = {engine.name: engine.folder for engine in stack.pool.engines}
    await stack.policies.activate(3, "test", "a mistake", expected=1)
    await reconcile.settle(stack.pool, stack.policies)
    refused = await stack.policies.get(3)
    assert refused is not None
    assert refused.state == "rejected"
    assert "model.norm.weight" in (refused.reason or "")
    active = await stack.policies.active()
    assert active is not None
    assert active.number == 1
    assert {engine.name: engine.folder for engine in stack.pool.engines} == before


async def test_stopping_an_answer_stops_the_engine(stack: Stack) -> None:
    lease = await stack.pool.lease(user="me")
    answer = stack.pool.stream(lease, SAY, Sampling(max_tokens=1800, temperature=1.0, stop=()))
    async for _ in answer:
        break
    await answer.aclose()
    deadline = time.monotonic() + 2
    while await running(lease.engine.client) > 0:
        assert time.monotonic() < deadline, "the engine goes on with an answer that nobody reads"
        await asyncio.sleep(0.05)
    await lease.release()


async def running(client: EngineClient) -> float:
    """Requests that vLLM is working on."""
    async with client.session.get("/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith("vllm:num_requests_running"):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError("vLLM's metrics have no num_requests_running")


async def test_a_killed_engine_ends_its_streams_clearly_and_comes_back(
    stack: Stack, engines: list[Engine]
) -> None:
    lease = await stack.pool.lease(user="me")
    answer = stack.pool.stream(lease, SAY, Sampling(max_tokens=1800, temperature=1.0))
    await anext(answer)
    victim = next(engine for engine in engines if engine.name == lease.engine.name)
    survivor = next(engine for engine in engines if engine is not victim)
    victim.kill()
    with pytest.raises(EngineFailed, match=victim.name):
        async for _ in answer:
            pass
    await lease.release()
    assert await stack.greedy()  # the other engine answers at once
    survivor.kill()
    await stack.until(lambda: not stack.pool.served())
    with pytest.raises(NoEngine):
        await stack.pool.lease(user="me")
    for engine in engines:
        engine.start()
    await stack.until(lambda: stack.pool.serving == 1 and bool(stack.pool.served()), 240)
    assert await stack.greedy()
