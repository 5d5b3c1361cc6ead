"""The child process: what it says is heard, how it ends is noticed, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from store.runs import Claim, StaleClaim
from tests.worker_parts import Platform
from workers import child
from workers.child import StageFailed, run_trainer
from workers.lease import Cancelled, Lease

pytestmark = pytest.mark.anyio

PRELUDE = """
import json, os, signal, subprocess, sys, time
def say(**event): print(json.dumps(event), flush=True)
def metric(step, **values): say(event="metric", step=step, of=3, values=values)
def done(**report): say(event="done", report=report)
"""

Rows = list[tuple[int, int | None, dict[str, float]]]
Run = Callable[[str], Coroutine[Any, Any, dict[str, Any]]]


@pytest.fixture
async def lease(heed: Platform) -> AsyncIterator[Lease]:
    run = await heed.runs.request("votes")
    claim = await heed.runs.acquire(run.id, "host:1", 0.9, 3)
    assert claim is not None
    async with Lease(heed.runs, claim) as lease:
        yield lease


@pytest.fixture
def rows() -> Rows:
    return []


@pytest.fixture
def run(lease: Lease, rows: Rows, tmp_path: Path) -> Run:
    async def on_metric(step: int, of: int | None, values: dict[str, float]) -> None:
        rows.append((step, of, values))

    async def run(script: str) -> dict[str, Any]:
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        return await run_trainer([sys.executable, str(path)], tmp_path / "stage.log", lease, on_metric)

    return run


async def until(condition: Callable[[], Any], timeout_s: float = 10) -> Any:
    """Wait for `condition`; its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.02)
    return value


def is_running(pid: int) -> bool:
    """False for a zombie too: nobody reaps an orphan here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_metrics_are_forwarded_in_order_and_the_report_comes_back(run: Run, rows: Rows) -> None:
    report = await run("metric(0, loss=1.5); metric(1, loss=0.5, lr=0.1); done(accuracy=0.75)")
    assert rows == [(0, 3, {"loss": 1.5}), (1, 3, {"loss": 0.5, "lr": 0.1})]
    assert report == {"accuracy": 0.75}


async def test_log_lines_and_strange_lines_are_kept_in_the_log(run: Run, rows: Rows, tmp_path: Path) -> None:
    await run(
        """
        say(event="log", text="a sample")
        print("not json", flush=True)
        print("[1]", flush=True)
        print("on stderr", file=sys.stderr, flush=True)
        metric(0, loss=float("nan"), lr=0.5)
        done()
        """
    )
    log = (tmp_path / "stage.log").read_text()
    for line in ("a sample", "not a JSON event: not json", "not a JSON event: [1]", "on stderr"):
        assert line in log
    assert "step 0: not a finite number: loss" in log
    assert rows == [(0, 3, {"lr": 0.5})]


async def test_a_failure_says_what_the_trainer_said_and_how_its_log_ended(run: Run) -> None:
    with pytest.raises(StageFailed) as failed:
        await run(
            """
            print("x" * 5000, file=sys.stderr)
            print("last words", file=sys.stderr, flush=True)
            say(event="error", message="the disk is full")
            sys.exit(3)
            """
        )
    said = str(failed.value)
    assert said.startswith("the trainer exited with 3: the disk is full\n")
    assert said.endswith("last words")
    assert len(said) < 2500


async def test_an_exit_without_a_report_is_a_failure(run: Run) -> None:
    with pytest.raises(StageFailed, match="ended without a report"):
        await run("metric(0, loss=1.0)")


async def test_a_kill_is_noticed_at_once(run: Run, rows: Rows) -> None:
    work = asyncio.create_task(run("metric(os.getpid(), x=1.0); time.sleep(60); done()"))
    await until(lambda: rows)
    os.kill(rows[0][0], signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(StageFailed, match="killed by SIGKILL"):
        await work
    assert time.monotonic() - began < 1


async def test_a_cancel_lets_the_trainer_stop_by_itself(
    run: Run, rows: Rows, heed: Platform, lease: Lease
) -> None:
    work = asyncio.create_task(
        run(
            """
            def stop(*_):
                metric(2, stopped=1.0)
                sys.exit(130)
            signal.signal(signal.SIGTERM, stop)
            metric(1, x=1.0)
            time.sleep(60)
            """
        )
    )
    await until(lambda: rows)
    began = time.monotonic()
    await heed.runs.cancel(lease.claim.run_id)
    with pytest.raises(Cancelled):
        await work
    assert time.monotonic() - began < 2  # the lease is renewed every 0.3 s
    assert rows[-1][2] == {"stopped": 1.0}


async def test_a_trainer_deaf_to_a_cancel_is_killed(
    run: Run, rows: Rows, heed: Platform, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "CANCEL_PATIENCE_S", 0.5)
    work = asyncio.create_task(
        run("signal.signal(signal.SIGTERM, signal.SIG_IGN); metric(os.getpid(), x=1.0); time.sleep(60)")
    )
    await until(lambda: rows)
    await heed.runs.cancel(lease.claim.run_id)
    with pytest.raises(Cancelled):
        await work
    assert not is_running(rows[0][0])


async def test_a_lost_run_kills_the_trainer(run: Run, rows: Rows, heed: Platform, lease: Lease) -> None:
    work = asyncio.create_task(run("metric(os.getpid(), x=1.0); time.sleep(60)"))
    await until(lambda: rows)
    stolen = Claim(lease.claim.run_id, lease.claim.token, "thief", 30)
    await heed.runs.finish(stolen, "failed", error="taken")
    with pytest.raises(StaleClaim):
        await work
    assert not is_running(rows[0][0])


async def test_what_the_trainer_started_goes_with_it(run: Run, rows: Rows) -> None:
    """A grandchild that holds the GPU and stdout outlives its parent, but not the stage."""
    report = await run(
        """
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        metric(grandchild.pid, x=1.0)
        done(ok=True)
        """
    )
    assert report == {"ok": True}
    await until(lambda: not is_running(rows[0][0]), timeout_s=2)


async def test_the_trainer_dies_with_its_worker(tmp_path: Path) -> None:
    """kill -9 of the worker: its trainer must not go on holding the GPU."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        textwrap.dedent(
            """
            import subprocess, sys
            from workers.child import _die_with_parent
            child = subprocess.Popen(
                [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
                preexec_fn=_die_with_parent(), start_new_session=True, stdout=subprocess.PIPE,
            )
            child.stdout.readline()
            print(child.pid, flush=True)
            child.wait()
            """
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(worker),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    trainer = int(await process.stdout.readline())
    assert is_running(trainer)
    process.kill()
    await process.wait()
    await until(lambda: not is_running(trainer), timeout_s=2)


async def test_redis_away_neither_stops_nor_repeats_a_training(
    heed: Platform, lease: Lease, redis_server: Any, tmp_path: Path
) -> None:
    async def on_metric(step: int, of: int | None, values: dict[str, float]) -> None:
        await heed.runs.metric(lease.claim, "ppo", step, of, values)

    path = tmp_path / "script.py"
    path.write_text(PRELUDE + "for step in range(30): metric(step, x=1.0); time.sleep(0.1)\ndone(ok=True)")
    work = asyncio.create_task(run_trainer([sys.executable, str(path)], tmp_path / "log", lease, on_metric))
    await asyncio.sleep(0.5)
    redis_server.stop(signal.SIGKILL)
    await asyncio.sleep(1.2)  # above the lease of 0.9 s
    redis_server.start()
    assert await work == {"ok": True}
    assert lease.redis_errors >= 2
    stored = [row.step for _, row in await heed.runs.metrics(lease.claim.run_id)]
    assert 0 in stored
    assert 29 in stored
    assert len(stored) < 30
    run = await heed.run(lease.claim.run_id)
    assert (run.state, run.attempt) == ("running", 1)
    await heed.runs.cancel(run.id)  # the renewals go on
    async with asyncio.timeout(2):
        assert await lease.stopped() == "cancel"
