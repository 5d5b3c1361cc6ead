"""Real Celery workers, real beat and real Redis round a stub trainer: kill -9, poison, cancel."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store.connection import connect
from store.health import Health
from store.opinions import Opinions
from store.records import PolicyVersion, Run, now
from tests.stub_trainer import write_weights
from tests.worker_parts import STUB, Platform, platform

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parent.parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "workers.app"]
WORKER = ["worker", "-c", "1", "-P", "prefork", "--without-gossip", "--without-mingle"]
CONFIG = """
[schedule]
min_votes = 3
tick_s = 0.5
lease_s = 2
max_attempts = 2
[release]
serve_timeout_s = 20
[opinions]
every_s = 1
"""


class Cluster:
    """The processes of the workers, started as the documentation says."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        (folder / "heed.toml").write_text(CONFIG)
        self._environment = os.environ | {
            "HEED_DATA": str(folder),
            "HEED_REDIS_URL": redis_url,
            "HEED_CONFIG": str(folder / "heed.toml"),
            "HEED_PROMPTS": str(folder / "prompts.jsonl"),
            "HEED_TRAINER_COMMAND": json.dumps([sys.executable, str(STUB)]),
            "HEED_STUB": str(folder / "stub" / "plan.json"),
            "REMAP_SIGTERM": "SIGQUIT",
        }

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self._folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [*CELERY, *arguments], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def start_worker(self, queue: str) -> subprocess.Popen[bytes]:
        return self.start(queue, *WORKER, "-Q", queue, "-n", f"{queue}-{len(self._processes)}@%h")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(timeout=10)


@pytest.fixture
def cluster(redis_url: str, volume: Path) -> Iterator[Cluster]:
    cluster = Cluster(volume, redis_url)
    yield cluster
    cluster.stop()


@pytest.fixture
async def heed(
    redis_url: str, volume: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Platform]:
    """A platform with two servers, the clock and the control worker; the train worker is the test's."""
    monkeypatch.setenv("HEED_STUB", "")
    parts = platform(redis_url, volume)
    await parts.base()
    cluster.start_worker("control")
    cluster.start("beat", "beat", "--pidfile=")
    servers = asyncio.create_task(parts.serve())
    yield parts
    servers.cancel()
    await asyncio.gather(servers, return_exceptions=True)
    await parts.redis.aclose()


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := await condition()):
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.05)
    return value


async def run_in(heed: Platform, *states: str) -> Run:
    """The newest run, once it is in one of these states."""

    async def newest() -> Run | None:
        runs = await heed.runs.newest(1)
        return runs[0] if runs and runs[0].state in states else None

    found: Run = await until(newest)
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def trainer_at(heed: Platform, stage: str, start: int = 1) -> int:
    """The process id of the stage's trainer, once it began for the `start`-th time."""

    async def pid() -> int | None:
        calls = heed.calls(stage)
        return calls[start - 1]["pid"] if len(calls) >= start else None

    found: int = await until(pid)
    return found


async def _listening(heed: Platform, *queues: str) -> bool:
    """Whether workers have said that they listen to these queues: what the System page shows."""
    workers = await Health(heed.redis).workers()
    return sorted(queue for worker in workers for queue in worker.queues) == sorted(queues)


async def test_a_killed_worker_costs_nothing_but_time(heed: Platform, cluster: Cluster) -> None:
    """Votes start a run, its worker is killed in PPO, another finishes it: one version, each vote once."""
    heed.plan(ppo={"steps": 10, "step_s": 0.3})
    train = cluster.start_worker("train")
    for number in range(4):
        await heed.vote(text=f"Question {number}")
    trainer = await trainer_at(heed, "ppo")
    await until(lambda: _listening(heed, "control", "train"))
    await asyncio.sleep(1)
    train.send_signal(signal.SIGKILL)
    train.wait()
    await until(lambda: _gone(trainer), timeout_s=3)
    cluster.start_worker("train")
    await trainer_at(heed, "ppo", start=2)
    late = await heed.vote(text="while it trains")
    run = await run_in(heed, "succeeded", "failed", "cancelled")
    assert (run.state, run.attempt, run.version, run.requested_by) == ("succeeded", 2, 2, "votes")
    assert [len(heed.calls(stage)) for stage in ("seeds", "reward", "ppo", "gate")] == [1, 1, 2, 1]
    assert next(stage for stage in run.stages if stage.stage == "ppo").summary["resumed_from"] >= 1
    assert sorted(version.number for version in await heed.policies.versions()) == [1, 2]
    assert [line.number for line in await heed.policies.timeline()] == [2, 1]
    assert run.snapshot is not None
    assert (run.snapshot.votes, run.snapshot.new_votes) == (4, 4)

    async def still_new() -> list[str]:
        trained_through = await heed.votes.mark("trained_through")
        return [vote.id for _, vote in await heed.votes.read(trained_through)]

    await until(lambda: _equal(still_new(), [late.id]))  # the marks move just after the run's end

    # The next run has every vote, and only the late ones and what came after are new to it.
    heed.plan()
    await heed.vote(text="one"), await heed.vote(text="two")
    await until(lambda: _is(heed, 3))
    run = await run_in(heed, "succeeded")
    assert run.snapshot is not None
    assert (run.snapshot.votes, run.snapshot.new_votes) == (7, 3)


async def test_a_worker_that_is_told_to_stop_uses_up_no_attempt(heed: Platform, cluster: Cluster) -> None:
    """A deploy while PPO runs: the run goes on elsewhere at once, from its checkpoint."""
    heed.plan(ppo={"steps": 1000, "step_s": 0.1})
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    train = cluster.start_worker("train")
    trainer = await trainer_at(heed, "ppo")
    train.send_signal(signal.SIGTERM)
    train.wait(timeout=20)
    assert not is_running(trainer)
    run = await run_in(heed, "running", "failed")
    assert (run.state, run.attempt, run.owner) == ("running", 0, None)
    heed.plan()
    cluster.start_worker("train")
    run = await run_in(heed, "succeeded", "failed")
    assert (run.state, run.attempt, run.error) == ("succeeded", 1, None)


async def test_a_frozen_worker_publishes_nothing_over_its_successor(heed: Platform, cluster: Cluster) -> None:
    heed.plan(ppo={"steps": 1000, "step_s": 0.1})
    cluster.start_worker("train")
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    trainer = await trainer_at(heed, "ppo")
    first = await run_in(heed, "running")
    frozen = int((first.owner or "").rpartition(":")[2])
    os.kill(frozen, signal.SIGSTOP)  # its trainer runs on
    heed.plan()
    cluster.start_worker("train")
    await trainer_at(heed, "ppo", start=2)
    assert is_running(trainer)  # until the run's end takes its folder away
    run = await run_in(heed, "succeeded", "failed")
    assert (run.state, run.attempt, run.error) == ("succeeded", 2, None)
    os.kill(frozen, signal.SIGCONT)
    await until(lambda: _gone(trainer), timeout_s=5)
    await asyncio.sleep(0.5)
    assert await heed.run(run.id) == run
    assert [line.number for line in await heed.policies.timeline()] == [2, 1]
    assert sorted(version.number for version in await heed.policies.versions()) == [1, 2]


async def _equal(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)


async def _gone(pid: int) -> bool:
    return not is_running(pid)


async def _is(heed: Platform, number: int) -> bool:
    active = await heed.policies.active()
    return active is not None and active.number == number


async def test_a_poison_run_stops_and_a_cancel_stops_a_good_one(heed: Platform, cluster: Cluster) -> None:
    heed.plan(reward={"exit": -9})
    cluster.start_worker("train")
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    run = await run_in(heed, "failed")
    assert (run.attempt, len(heed.calls("reward"))) == (2, 2)
    assert "gave up after 2 attempts" in (run.error or "")
    assert "killed by SIGKILL" in (run.error or "")
    assert "reward: out of luck at step 0" in (run.error or "")
    await asyncio.sleep(1.5)  # ticks go by
    assert len(await heed.runs.newest()) == 1, "the votes of a failed run started another one"
    assert await heed.votes.pending(await heed.votes.mark("trained_through")) == 3

    heed.plan(ppo={"steps": 1000, "step_s": 0.1})
    asked = await heed.runs.request("acc_admin")
    trainer = await trainer_at(heed, "ppo")
    began = time.monotonic()
    await heed.runs.cancel(asked.id)
    run = await run_in(heed, "cancelled")
    assert time.monotonic() - began < 5
    assert run.id == asked.id
    assert not is_running(trainer)
    assert [version.number for version in await heed.policies.versions()] == [1]


async def test_opinions_of_new_votes_come_by_themselves(heed: Platform, cluster: Cluster) -> None:
    version = PolicyVersion(number=2, reward_model=2, folder="v0002", sha256="x", created_at=now())
    await heed.policies.register(version)
    write_weights(heed.settings.data / "reward_models" / "v0002", [1.0], "score.weight")
    made = {"policy_version": 2, "versions": (2,)}
    vote = await heed.vote("a", a={"text": "four", **made}, b={"text": "seven..", **made})
    cluster.start_worker("train")

    opinion = await until(lambda: Opinions(heed.redis).get(vote.id))

    assert [one.score for one in opinion.answers] == [4.0, 7.0]
    assert await heed.runs.newest(1) == []  # one vote is no training


async def test_the_clock_goes_on_in_a_redis_that_was_emptied(
    redis_url: str, volume: Path, cluster: Cluster
) -> None:
    redis = connect(redis_url)
    health = Health(redis)
    cluster.start_worker("control")
    beat = cluster.start("beat", "beat", "--pidfile=")
    try:
        await until(health.last_tick)
        await redis.flushall()
        await until(health.last_tick)
    finally:
        await redis.aclose()
    assert beat.poll() is None, "the same process, not one that somebody started again"
