"""The schedule and the Celery app: when a run starts, who is woken, and what Celery is told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from store.health import Health
from store.opinions import agreement_of_recent_votes
from store.outlook import Outlooks
from store.records import PolicyVersion, now
from store.requests import Requests
from store.start_rules import StartRulesBook
from tests.worker_parts import Platform
from workers import app, opinions, schedule
from workers.tasks import form_opinions, retrain, tick


def with_schedule(heed: Platform, **changes: Any) -> Platform:
    settings = replace(heed.settings, schedule=heed.settings.schedule.model_copy(update=changes))
    return replace(heed, settings=settings)


@pytest.mark.anyio
async def test_enough_votes_start_one_run_and_every_tick_wakes_it(heed: Platform) -> None:
    await heed.vote("a")
    await heed.vote("tie")
    assert await schedule.tick(heed.settings) == []
    await heed.vote("b")
    [run_id] = await schedule.tick(heed.settings)
    assert (await heed.run(run_id)).requested_by == "votes"
    await heed.vote("b"), await heed.vote("b")
    assert await schedule.tick(heed.settings) == [run_id]
    assert len(await heed.runs.newest()) == 1


@pytest.mark.anyio
async def test_a_paused_schedule_starts_nothing_by_itself(heed: Platform) -> None:
    await heed.vote("a"), await heed.vote("b")
    await heed.runs.pause("acc_1", "the data is being looked at")
    assert await schedule.tick(heed.settings) == []
    asked = await heed.runs.request("acc_1")
    assert await schedule.tick(heed.settings) == [asked.id]
    await heed.runs.cancel(asked.id)
    await heed.vote("a"), await heed.vote("b")
    await heed.runs.resume()
    assert len(await schedule.tick(heed.settings)) == 1
    assert await Health(heed.redis).last_tick() is not None


@pytest.mark.anyio
async def test_a_run_that_an_admin_asked_for_is_woken(heed: Platform) -> None:
    run = await heed.runs.request("acc_1")
    assert await schedule.tick(heed.settings) == [run.id]


@pytest.mark.anyio
async def test_a_run_whose_worker_died_is_woken_and_one_that_is_held_is_not(heed: Platform) -> None:
    # The janitor waits until the server is older than two leases: a short lease, so that this one is.
    heed = with_schedule(heed, lease_s=0.1)
    run = await heed.runs.request("acc_1")
    claim = await heed.runs.acquire(run.id, "host:1", 0.5, 3)
    assert claim is not None
    await asyncio.sleep(max(0.0, 1.1 - (await heed.redis.info("server"))["uptime_in_seconds"]))
    await heed.runs.renew(claim)
    assert await schedule.tick(heed.settings) == []
    await asyncio.sleep(0.6)
    assert await schedule.tick(heed.settings) == [run.id]


@pytest.mark.anyio
async def test_a_request_that_waited_starts_when_the_open_run_ended(heed: Platform) -> None:
    """Whoever asked first, and neither a pause nor quiet hours hold it up; then nothing more starts."""
    open_run = await heed.runs.request("votes")
    requests = Requests(heed.redis)
    await requests.add("acc_ann", "a new topic"), await requests.add("acc_bob", "")
    quiet = with_schedule(heed, quiet_hours=("00:00-12:00", "12:00-00:00"))
    await heed.runs.pause("acc_1", "the data is being looked at")
    assert await schedule.tick(quiet.settings) == [open_run.id]
    for actor, reason in (("acc_ann", "a new topic"), ("acc_bob", None)):
        current = await heed.runs.current()
        assert current is not None
        await heed.runs.cancel(current.id)
        [run_id] = await schedule.tick(quiet.settings)
        run = await heed.run(run_id)
        assert (run.requested_by, run.reason) == (actor, reason)
    await heed.runs.cancel(run_id)
    assert await schedule.tick(quiet.settings) == []
    assert len(await heed.runs.newest()) == 3


@pytest.mark.anyio
async def test_in_quiet_hours_nothing_starts_by_itself_and_what_runs_goes_on(heed: Platform) -> None:
    await heed.vote("a"), await heed.vote("b")
    quiet = with_schedule(heed, quiet_hours=("00:00-12:00", "12:00-00:00"))
    assert await schedule.tick(quiet.settings) == []
    seen = await Outlooks(heed.redis).read()
    assert seen is not None
    assert (seen.because, seen.quiet_until is not None) == ("votes", True)
    [run_id] = await schedule.tick(heed.settings)
    assert await schedule.tick(quiet.settings) == [run_id]


@pytest.mark.anyio
async def test_rules_changed_on_the_dashboard_hold_from_the_next_tick(heed: Platform) -> None:
    """Two votes are enough by the file."""
    await heed.vote("a"), await heed.vote("b")
    rules, file = StartRulesBook(heed.redis), heed.settings.schedule
    changes = await rules.change(file, {"min_votes": 3, "calendar": "0 2 * * *"}, "acc_ann")
    assert await schedule.tick(heed.settings) == []
    seen = await Outlooks(heed.redis).read()
    assert seen is not None
    assert (seen.because, seen.rules_at) == ("calendar", changes.at)
    await rules.change(file, {"quiet_hours": ["00:00-12:00", "12:00-00:00"], "min_votes": 2}, "acc_bob")
    assert await schedule.tick(heed.settings) == []
    await rules.as_in_file(file, "acc_ann")
    [run_id] = await schedule.tick(heed.settings)
    assert (await heed.run(run_id)).requested_by == "votes"


@pytest.mark.anyio
async def test_the_oldest_vote_that_waits_is_what_the_clocks_count_from(heed: Platform) -> None:
    timed = with_schedule(heed, min_votes=50, every_hours=2, calendar="0 2 * * *")
    assert (await schedule.what_waits(heed.votes, heed.redis, timed.settings, agreement_of_recent_votes)) == (
        0,
        None,
        None,
    )
    await heed.vote("tie")
    first = await heed.vote("a")
    await heed.vote("b")
    waiting = await schedule.what_waits(heed.votes, heed.redis, timed.settings, agreement_of_recent_votes)
    votes, at, drift = waiting
    assert (votes, drift) == (2, None)
    assert at is not None
    assert abs(at - first.created_at) < timedelta(seconds=1)
    # The clock was set back by an hour: the log's ids go on from before, the votes know better.
    set_back = await heed.vote("a", said={"created_at": now() - timedelta(hours=1)})
    waiting = await schedule.what_waits(heed.votes, heed.redis, timed.settings, agreement_of_recent_votes)
    assert waiting.first == set_back.created_at


@pytest.mark.anyio
async def test_drift_of_the_live_reward_model_starts_a_run(heed: Platform) -> None:
    """It was right on 80 to 90 % of held-out pairs; of 40 new votes it would have given 17."""
    rare = with_schedule(heed, min_votes=1000)
    for _ in range(2):
        await heed.vote("a")
    version = PolicyVersion(number=2, folder="v0002", sha256="0" * 64, reward_model=2, created_at=now())
    await heed.policies.register(version)
    (heed.settings.data / "policies" / "v0002").mkdir(parents=True)
    await heed.policies.activate(2, "test", "better", expected=1)
    asked: list[int] = []

    async def agreement(redis: Any, limit: int) -> tuple[int, int]:
        asked.append(limit)
        return 17, 40

    assert await schedule.tick(rare.settings, agreement) == [], "no report: nothing was promised"
    folder = heed.settings.data / "reward_models" / "v0002"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"held_out": {"accuracy": 0.85, "accuracy_low": 0.8}}))
    assert await schedule.tick(with_schedule(rare, drift=0.0).settings, agreement) == []
    assert await schedule.tick(rare.settings) == [], "nobody scores votes"
    [run_id] = await schedule.tick(rare.settings, agreement)
    assert (await heed.run(run_id)).requested_by == "drift"
    assert asked == [2, 2], "only what came since the last training"


@pytest.mark.anyio
@pytest.mark.parametrize("state", ["failed", "cancelled", "succeeded"])
async def test_votes_of_a_run_that_ended_do_not_start_the_next_one(heed: Platform, state: Any) -> None:
    """Also when its worker died between the run's end and the marks."""
    await heed.vote("a"), await heed.vote("b")
    [run_id] = await schedule.tick(heed.settings)
    claim = await heed.runs.acquire(run_id, "host:1", 30, 3)
    assert claim is not None
    await asyncio.sleep(0.01)
    await heed.runs.finish(claim, state, version=2 if state == "succeeded" else None)
    assert await schedule.tick(heed.settings) == []
    assert await heed.votes.pending(await heed.votes.mark("trained_through")) == (
        0 if state == "succeeded" else 2
    )
    await asyncio.sleep(0.01)
    await heed.vote("a")
    assert await schedule.tick(heed.settings) == []
    await heed.vote("b")
    assert len(await schedule.tick(heed.settings)) == 1


@pytest.mark.anyio
async def test_cancelling_a_queued_run_is_not_answered_with_another(heed: Platform) -> None:
    await heed.vote("a"), await heed.vote("b")
    [run_id] = await schedule.tick(heed.settings)
    await asyncio.sleep(0.01)
    await heed.runs.cancel(run_id)
    assert await schedule.tick(heed.settings) == []


def test_the_tick_task_sends_the_runs_to_the_train_queue(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "heed.toml").write_text("")
    monkeypatch.setenv("HEED_CONFIG", str(tmp_path / "heed.toml"))

    async def two_runs(settings: Any) -> list[str]:
        return ["run_1", "run_2"]

    async def votes_wait(settings: Any) -> bool:
        return True

    sent: list[tuple[str, ...]] = []
    passes: list[dict[str, Any]] = []
    monkeypatch.setattr(schedule, "tick", two_runs)
    monkeypatch.setattr(opinions, "due", votes_wait)
    monkeypatch.setattr(retrain, "apply_async", lambda arguments, **options: sent.append(arguments))
    monkeypatch.setattr(form_opinions, "apply_async", lambda **options: passes.append(options))
    tick()
    assert sent == [("run_1",), ("run_2",)]
    assert passes == [{"expires": 60}]
    routes = app.celery_config()["task_routes"]
    assert routes[retrain.name] == routes[form_opinions.name] == {"queue": "train"}


@pytest.mark.parametrize(
    ("store", "broker", "redbeat"),
    [
        ("unix:///a/b.sock?db=0", "redis+socket:///a/b.sock?virtual_host=1", "unix:///a/b.sock?db=1"),
        ("unix:///a/b.sock", "redis+socket:///a/b.sock?virtual_host=1", "unix:///a/b.sock?db=1"),
        ("redis://:pw@redis:6379/0", "redis://:pw@redis:6379/1", "redis://:pw@redis:6379/1"),
        ("redis://redis:6379", "redis://redis:6379/1", "redis://redis:6379/1"),
        ("rediss://redis:6380/0?ssl_cert_reqs=required",)
        + ("rediss://redis:6380/1?ssl_cert_reqs=required",) * 2,
    ],
)
def test_celery_and_redbeat_spell_the_same_redis(store: str, broker: str, redbeat: str) -> None:
    assert (app.broker_url(store), app.redbeat_url(store)) == (broker, redbeat)


def test_importing_the_app_reads_and_connects_to_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import workers.app, workers.tasks; print('fine')"],
        env=os.environ | {"HEED_CONFIG": "/nowhere.toml", "HEED_REDIS_URL": "redis://nowhere:1/0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "fine\n"
