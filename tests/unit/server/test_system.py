"""The System page: what is wrong is named with its fix, and what is fine is not."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from server.system import (
    FEWEST_KNOWN,
    disk_of,
    disk_problems,
    engine_problems,
    redis_problems,
    trial_problems,
    worker_problems,
)
from server.system_shapes import DiskOut
from store.dataset.checks import has_shown
from store.health import Health
from store.records import EngineStatus, Pause, RedisHealth, Verdict, WorkerBeat, now

pytestmark = pytest.mark.anyio

GOOD = RedisHealth(
    version="8.2",
    uptime_s=100,
    ping_ms=0.2,
    clock_skew_s=0.0,
    appendonly="yes",
    appendfsync="always",
    maxmemory_policy="noeviction",
    aof_write_ok=True,
    memory_bytes=1,
    maxmemory_bytes=0,
    aof_bytes=1,
    clients=1,
    blocked_clients=0,
)


@pytest.fixture
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of whoever runs the tests may be full."""
    usage = shutil.disk_usage("/")._replace(total=1 << 40, used=0, free=1 << 40)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)


@pytest.mark.parametrize(("change", "kinds"), [
    ({}, []),
    ({"appendonly": "no"}, ["aof_off"]),
    ({"appendfsync": "everysec"}, ["fsync_weak"]),
    ({"appendonly": None, "appendfsync": None, "maxmemory_policy": None}, ["redis_hidden"]),
    ({"maxmemory_policy": "allkeys-lru"}, ["eviction"]),
    ({"aof_write_ok": False}, ["aof_failing"]),
    ({"memory_bytes": 91, "maxmemory_bytes": 100}, ["memory_full"]),
    ({"ping_ms": 80.0}, ["redis_slow"]),
    ({"clock_skew_s": -3.5}, ["clock_skew"]),
])  # fmt: skip
async def test_redis_problems(change: dict[str, Any], kinds: list[str]) -> None:
    found = redis_problems(GOOD.model_copy(update=change))
    assert [problem.kind for problem in found] == kinds
    assert all(problem.fix for problem in found)


async def test_worker_problems() -> None:
    train, control = (
        WorkerBeat(name=f"{queue}@host", queues=(queue,), at=now()) for queue in ("train", "control")
    )
    empty = {"train": 0, "control": 0}
    assert worker_problems([train, control], empty, now(), None) == []
    [missing] = worker_problems([control], empty, now(), None)
    assert missing.kind == "no_train_worker"
    assert missing.fix == "python -m celery -A workers.app worker -Q train -c 1 -n train@%h"
    old = now() - timedelta(minutes=5)
    stuck = worker_problems([train, control], {"train": 0, "control": 60}, old, None)
    assert [problem.kind for problem in stuck] == ["queue_long", "no_tick"]
    ahead = now() + timedelta(hours=2)
    [wrong] = worker_problems([train, control], empty, ahead, None)
    assert (wrong.kind, wrong.severity) == ("tick_ahead", "bad")
    assert "set back" in wrong.what
    soon = now() + timedelta(seconds=30)
    assert worker_problems([train, control], empty, soon, None) == []  # clocks of two machines
    pause = Pause(actor="acc_1", reason="holiday", at=now())
    [paused] = worker_problems([train, control], empty, now(), pause)
    assert "holiday" in paused.what


async def test_engine_and_disk_problems() -> None:
    up = EngineStatus(name="engine-1", address="unix:///x", state="ready", version=1, seen_at=now())
    down = up.model_copy(update={"name": "engine-2", "state": "down", "error": "out of memory"})
    long_ago = now() - timedelta(minutes=5)
    assert [problem.kind for problem in engine_problems([], {}, None, None)] == ["no_engine"]
    assert engine_problems([up], {"host": 1}, 1, long_ago) == []
    found = engine_problems([up, down], {"host": 1}, 2, long_ago)
    assert [problem.kind for problem in found] == ["engine_down", "version_behind"]
    assert "out of memory" in found[0].what
    assert engine_problems([up], {"host": 1}, 2, now()) == []  # the swap is under way
    disk = DiskOut(folder="/data", total_bytes=100, free_bytes=9, policies_bytes=1, needed_bytes=10)
    assert [problem.kind for problem in disk_problems(disk)] == ["disk_low"]
    assert disk_problems(disk.model_copy(update={"free_bytes": 10})) == []


def test_a_trial_that_nobody_can_pass_is_named() -> None:
    assert trial_problems(0, 0) == []
    assert trial_problems(10, 10) == []
    [stuck] = trial_problems(10, 9)
    assert (stuck.kind, stuck.severity) == ("trial_stuck", "warning")
    assert "9 known verdicts" in stuck.what
    assert [problem.kind for problem in trial_problems(1, 6)] == ["trial_stuck"]
    asked = [verdict("a", gold="a") for _ in range(FEWEST_KNOWN)]
    assert (has_shown(asked, 1), has_shown(asked[1:], 1)) == (True, False)


def verdict(choice: str, gold: str) -> Verdict:
    return Verdict.model_validate(
        {"item_id": "i", "vote_id": "v", "choice": choice, "swapped": False, "gold": gold, "at": now()}
    )


def test_a_training_needs_room_for_many_versions(tmp_path: Path) -> None:
    assert disk_of(tmp_path).needed_bytes == 256 << 20  # Redis' own reserve
    version = tmp_path / "policies" / "v0001"
    version.mkdir(parents=True)
    with open(version / "model.safetensors", "wb") as file:
        file.truncate(100 << 20)
    assert disk_of(tmp_path).policies_bytes == 100 << 20
    assert disk_of(tmp_path).needed_bytes == (256 + 4000) << 20


@pytest.mark.usefixtures("roomy_disk")
async def test_a_fresh_server_tells_what_is_missing(heed: Any, admin: Any) -> None:
    seen = await admin.get("/api/v1/system")
    kinds = {problem["kind"] for problem in seen["problems"]}
    assert kinds == {"no_train_worker", "no_control_worker", "no_tick", "no_engine"}
    assert seen["redis"]["appendfsync"] == "always"
    assert seen["queues"] == {"train": 0, "control": 0}
    assert seen["disk"]["free_bytes"] > 0


@pytest.mark.usefixtures("roomy_disk")
async def test_beats_queues_and_ticks_are_read_where_the_workers_write(
    heed: Any, admin: Any, redis_server: Any
) -> None:
    health: Health = heed.parts.health
    await health.beat("train@host", ["train"])
    await health.beat("control@host", ["control"])
    await health.tick()
    broker = redis_server.client()
    broker.select(1)
    broker.rpush("heed:train", "a message")
    seen = await admin.get("/api/v1/system")
    assert {problem["kind"] for problem in seen["problems"]} == {"no_engine"}
    assert [(one["name"], one["queues"]) for one in seen["workers"]] == [
        ("control@host", ["control"]),
        ("train@host", ["train"]),
    ]
    assert seen["queues"]["train"] == 1


async def test_a_full_disk_refuses_what_is_new_and_nothing_else(
    heed: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = (await admin.http.post("/api/v1/conversations", json={})).json()
    usage = shutil.disk_usage("/")._replace(total=1 << 40, used=1 << 40, free=255 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    refused = await admin.http.post("/api/v1/conversations", json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (507, "30")
    assert "nothing was counted or changed" in refused.json()["detail"]
    assert (await admin.http.get("/readyz")).status_code == 507
    assert (await admin.http.get(f"/api/v1/conversations/{conversation['id']}")).status_code == 200
    assert (await admin.http.delete(f"/api/v1/conversations/{conversation['id']}")).status_code < 300
    monkeypatch.undo()
    assert (await admin.http.post("/api/v1/conversations", json={})).status_code == 201
