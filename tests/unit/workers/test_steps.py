"""One retrain from acquire to its end: real Redis, real folders, a stub trainer as the child process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from store.artifacts import verify
from store.lineage import Lineage
from store.policies import read_pointer
from store.records import PolicyVersion, Run
from store.run_options import RunOptions, RunOptionsBook
from store.start_rules import StartRulesBook
from tests.worker_parts import Platform
from workers import recipe
from workers.settings import Release

pytestmark = pytest.mark.anyio


async def queued(heed: Platform, votes: int = 3) -> Run:
    for number in range(votes):
        await heed.vote(text=f"Question {number}")
    return await heed.runs.request("votes")


async def attempt(heed: Platform, run: Run) -> Run:
    """One attempt, after the lease of the one before ran out."""
    while await heed.redis.exists(f"heed:run:{run.id}:lease"):
        await asyncio.sleep(0.05)
    await recipe.retrain(run.id, heed.settings)
    return await heed.run(run.id)


async def marks(heed: Platform) -> tuple[bool, bool]:
    """Whether (attempted_through, trained_through) are past the last vote."""
    last = (await heed.votes.read())[-1][0]
    return await heed.votes.mark("attempted_through") == last, await heed.votes.mark(
        "trained_through"
    ) == last


async def version(heed: Platform, number: int) -> PolicyVersion:
    found = await heed.policies.get(number)
    assert found is not None
    return found


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.02)


def stages(run: Run) -> dict[str, str]:
    return {status.stage: status.state for status in run.stages}


def summary(run: Run, stage: str) -> dict[str, Any]:
    return next(status.summary for status in run.stages if status.stage == stage)


@pytest.mark.usefixtures("serving")
async def test_a_run_trains_as_whoever_asked_for_it_wants(heed: Platform) -> None:
    for number in range(4):
        await heed.vote(text=f"Question {number}")
    await RunOptionsBook(heed.redis).keep("acc_ann", RunOptions(max_pairs=2, updates=5))
    first = await attempt(heed, await heed.runs.request("acc_ann"))
    assert summary(first, "freeze")["train_pairs"] + summary(first, "freeze")["held_out_pairs"] == 2
    for stage in ("reward", "ppo", "gate"):
        assert "ppo.updates=5" in heed.calls(stage)[-1]["set"]
    assert (first.config["ppo"]["updates"], first.config["schedule"]["max_pairs"]) == (5, 2)
    second = await attempt(heed, await heed.runs.request("votes"))
    assert "ppo.updates" not in heed.calls("ppo")[-1]["set"]
    assert second.config.get("ppo", {}).get("updates") != 5


@pytest.mark.usefixtures("serving")
async def test_a_run_says_by_which_start_rules_it_began(heed: Platform) -> None:
    for number in range(4):
        await heed.vote(text=f"Question {number}")
    rules, file = StartRulesBook(heed.redis), heed.settings.schedule
    await rules.change(file, {"min_votes": 3, "calendar": "0 2 * * *"}, "acc_ann")
    await RunOptionsBook(heed.redis).keep("acc_ann", RunOptions(max_pairs=2))
    run = await attempt(heed, await heed.runs.request("acc_ann"))
    await rules.as_in_file(file, "acc_ann")
    assert run.config["schedule"] == {"min_votes": 3, "calendar": "0 2 * * *", "max_pairs": 2}


@pytest.mark.usefixtures("serving")
async def test_a_run_publishes_one_version_and_activates_it(heed: Platform) -> None:
    run = await attempt(heed, await queued(heed))
    assert (run.state, run.version, run.error) == ("succeeded", 2, None)
    assert set(stages(run).values()) == {"done"}
    active = await version(heed, 2)
    assert (active.state, active.parent, active.run_id, active.reward_model) == ("active", 1, run.id, 2)
    assert active.metrics["reward_mean"] == 1.5
    assert active.report is not None
    assert active.report.fingerprints[0].token_ids == (1, 2)
    assert read_pointer(heed.settings.data) == heed.settings.data / "policies" / "v0002"
    sealed = verify(heed.settings.data / "policies" / "v0002")
    assert (sealed["sha256"], "samples.json" in sealed["files"]) == (active.sha256, True)
    assert verify(heed.settings.data / "reward_models" / "v0002")["run_id"] == run.id
    assert [(line.number, line.actor) for line in await heed.policies.timeline()] == [
        (2, "release"),
        (1, "up"),
    ]
    assert (await version(heed, 1)).state == "retired"
    assert run.snapshot is not None
    assert run.config == {"ppo": {"iterations": 3}}
    assert run.snapshot.train_pairs + run.snapshot.held_out_pairs == 3
    said = summary(run, "reward")
    assert [check["name"] for check in said.pop("checks")] == ["accuracy"]
    assert said == {
        "pairs": run.snapshot.train_pairs, "held_out_accuracy": 0.75, "passed": True,
        "held_back": said["held_back"],
    }  # fmt: skip
    assert said["held_back"].endswith("pairs of other conversations, 20 are needed")
    rows = [row for _, row in await heed.runs.metrics(run.id)]
    assert {row.stage for row in rows} == {"reward", "ppo", "gate"}
    assert await marks(heed) == (True, True)
    assert await heed.runs.current() is None
    used = [vote for _, vote in await heed.votes.read()]
    lineage = Lineage(heed.redis)
    assert await lineage.votes(run.id) == {vote.id for vote in used}
    assert await heed.votes.mark("frozen_through") == run.snapshot.through
    assert await lineage.tainted_by(run.id) == set()
    await heed.votes.exclude(used[0].id, "rev", "spam")
    assert await lineage.tainted_by(run.id) == {used[0].id}


@pytest.mark.usefixtures("serving")
async def test_the_trainer_is_given_the_right_folders(heed: Platform) -> None:
    first = await attempt(heed, await queued(heed))
    second = await attempt(heed, await queued(heed))
    assert second.version == 3
    data = heed.settings.data
    [seeds] = heed.calls("seeds")  # once per volume
    assert seeds["policy"] == str(data / "policies" / "v0001")
    assert "previous" not in heed.calls("reward")[0]
    reward, ppo, gate = (heed.calls(stage)[1] for stage in ("reward", "ppo", "gate"))
    assert reward["previous"] == str(data / "reward_models" / "v0002")
    assert reward["policy"] == ppo["policy"] == gate["active"] == str(data / "policies" / "v0002")
    assert ppo["reference"] == gate["reference"] == str(data / "policies" / "v0001")
    assert ppo["reward-model"] == gate["reward-model"] == reward["out"]
    assert ppo["config"] == str(data / "runs" / second.id / "config.toml")
    assert first.id not in json.dumps([reward, ppo, gate])


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize(
    ("stage", "folder", "starts"), [("reward", "lesson", [1, 2, 1, 1]), ("ppo", "ppo", [1, 1, 2, 1])]
)
async def test_a_new_attempt_skips_what_is_done_and_resumes_the_rest(
    heed: Platform, stage: str, folder: str, starts: list[int]
) -> None:
    heed.plan(**{stage: {"steps": 4, "step_s": 0.2}})
    run = await queued(heed)
    dying = asyncio.create_task(recipe.retrain(run.id, heed.settings))
    await until(lambda: _has(heed, run, f"{folder}/checkpoints/000001"))
    while not dying.done():  # the worker's death, as far as this process can play it
        dying.cancel()
        await asyncio.sleep(0.5)
    run = await attempt(heed, run)
    assert (run.state, run.attempt, run.version) == ("succeeded", 2, 2)
    assert [len(heed.calls(stage)) for stage in ("seeds", "reward", "ppo", "gate")] == starts
    assert summary(run, stage)["resumed_from"] >= 2
    one, two = (call["work"] for call in heed.calls(stage))
    assert one != two
    assert not await _has(heed, run, f"{folder}/checkpoints")


@pytest.mark.usefixtures("serving")
async def test_without_enough_texts_ptx_is_off_for_the_run(heed: Platform) -> None:
    run = await attempt(heed, await queued(heed))
    assert run.state == "succeeded"
    (call,) = heed.calls("ppo")
    assert call["set"] == "ppo.ptx_coef=0"
    assert "ptx" not in call


@pytest.mark.usefixtures("serving")
async def test_a_checkpoint_that_vanishes_while_it_is_handed_over_is_not_half_taken(
    heed: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer of a frozen worker runs on: it removes an old checkpoint for each new one."""
    run = await queued(heed)
    checkpoints = heed.settings.data / "runs" / run.id / "attempt-0" / "ppo" / "checkpoints"
    for name in ("000000", "000001", ".tmp-1"):
        (checkpoints / name).mkdir(parents=True)
        (checkpoints / name / "state.json").write_text("{}")
    link, gone = os.link, []

    def link_unless_removed(source: str, target: str) -> None:
        if "000001" in source:
            gone.append(source)
            raise FileNotFoundError(source)
        link(source, target)

    monkeypatch.setattr(os, "link", link_unless_removed)
    heed.plan(ppo={"exit": 3})
    await attempt(heed, run)
    assert gone
    mine = heed.settings.data / "runs" / run.id / "attempt-1" / "ppo" / "checkpoints"
    assert [path.name for path in mine.iterdir()] == ["000000"]


async def _has(heed: Platform, run: Run, path: str) -> bool:
    return bool(list((heed.settings.data / "runs" / run.id).glob(f"attempt-*/{path}")))


@pytest.mark.usefixtures("serving")
async def test_a_held_back_candidate_is_kept_marked_and_explained(heed: Platform) -> None:
    heed.plan(gate={"passed": False})
    run = await attempt(heed, await queued(heed))
    assert (run.state, run.version) == ("succeeded", 2)
    assert stages(run)["release"] == "skipped"
    assert summary(run, "release")["held_back"] == ["ref_kl: 9.0 against 8.0: too far from the reference"]
    held_back = await version(heed, 2)
    assert held_back.state == "rejected"
    assert held_back.reason == "held back: ref_kl: 9.0 against 8.0: too far from the reference"
    assert (heed.settings.data / "policies" / "v0002" / "manifest.json").exists()
    active = await heed.policies.active()
    assert active is not None
    assert active.number == 1
    assert await marks(heed) == (True, True)


@pytest.mark.usefixtures("serving")
async def test_weights_that_are_not_numbers_are_rejected_before_anybody_serves_them(heed: Platform) -> None:
    heed.plan(ppo={"nan": True})
    run = await attempt(heed, await queued(heed))
    assert (run.state, stages(run)["release"]) == ("failed", "failed")
    assert "lm_head.weight holds NaN" in (run.error or "")
    assert (await version(heed, 2)).state == "rejected"
    assert len(await heed.policies.timeline()) == 1
    assert await marks(heed) == (True, False)
    assert await heed.votes.pending(await heed.votes.mark("trained_through")) == 3


async def test_a_version_that_a_server_does_not_serve_is_taken_back(heed: Platform) -> None:
    servers = asyncio.create_task(heed.serve(behind="server-2"))
    run = await attempt(heed, await queued(heed))
    servers.cancel()
    assert run.state == "failed"
    assert "not every server served v2 within 1 s (server-2 serves v1)" in (run.error or "")
    assert (await version(heed, 2)).state == "rolled_back"
    active = await heed.policies.active()
    assert active is not None
    assert active.number == 1
    assert read_pointer(heed.settings.data) == heed.settings.data / "policies" / "v0001"
    assert (await heed.policies.timeline())[0].actor == "release"
    assert await marks(heed) == (True, False)


async def test_a_version_that_nobody_serves_is_taken_back(heed: Platform) -> None:
    run = await attempt(heed, await queued(heed))
    assert "no server was there to serve v2" in (run.error or "")
    assert (await version(heed, 2)).state == "rolled_back"


async def test_a_version_that_the_servers_reject_ends_the_run_at_once(heed: Platform) -> None:
    settings = replace(heed.settings, release=Release(serve_timeout_s=60))
    run = await queued(heed)
    work = asyncio.create_task(recipe.retrain(run.id, settings))

    async def is_active() -> bool:
        active = await heed.policies.active()
        return active is not None and active.number == 2

    await until(is_active)
    await heed.policies.activate(1, "server-1", "fingerprint differs", expected=2, left_as="rejected")
    async with asyncio.timeout(5):
        await work
    run = await heed.run(run.id)
    assert (run.state, run.error) == ("failed", "version 2 was taken back: fingerprint differs")


@pytest.mark.usefixtures("serving")
async def test_a_rollback_during_training_is_not_overruled(heed: Platform) -> None:
    """The gate compared with a version that is not active any more: the candidate stays out."""
    await attempt(heed, await queued(heed))
    heed.plan(gate={"step_s": 0.5})
    run = await queued(heed)
    work = asyncio.create_task(recipe.retrain(run.id, heed.settings))
    await until(lambda: _has(heed, run, "ppo.done.json"))
    await heed.policies.rollback("admin", "worse")
    await work
    run = await heed.run(run.id)
    assert run.state == "failed"
    assert "active version is not v2 any more" in (run.error or "")
    assert (await version(heed, 3)).state == "rejected"
    active = await heed.policies.active()
    assert active is not None
    assert active.number == 1


@pytest.mark.usefixtures("serving")
async def test_a_rolled_back_version_is_not_activated_again_by_its_own_run(heed: Platform) -> None:
    """The worker dies right after the activation, an admin rolls back, the next attempt comes."""
    run = await queued(heed)
    await recipe.retrain(run.id, replace(heed.settings, release=Release(serve_timeout_s=0.01)))
    run = await heed.run(run.id)
    if run.state != "succeeded":  # taken back by the time-out: the same state for what follows
        assert (await version(heed, 2)).state == "rolled_back"
    else:
        await heed.policies.rollback("admin", "worse")
    text = run.model_copy(update={"state": "running", "ended_at": None}).model_dump_json()
    await heed.redis.hset("heed:runs", run.id, text)
    run = await attempt(heed, run)
    assert run.state == "failed"
    assert "version 2 is rolled_back" in (run.error or "")
    active = await heed.policies.active()
    assert active is not None
    assert active.number == 1


@pytest.mark.usefixtures("serving")
async def test_a_cancel_ends_the_run_which_can_be_taken_up_again(heed: Platform) -> None:
    heed.plan(ppo={"steps": 100, "step_s": 0.1})
    run = await queued(heed)
    work = asyncio.create_task(recipe.retrain(run.id, heed.settings))
    await until(lambda: _has(heed, run, "ppo/checkpoints/000001"))
    await heed.runs.cancel(run.id)
    async with asyncio.timeout(3):
        await work
    run = await heed.run(run.id)
    assert (run.state, stages(run)["ppo"], stages(run)["gate"]) == ("cancelled", "skipped", "waiting")
    assert await heed.policies.get(2) is None
    assert await marks(heed) == (True, False)
    heed.plan()
    assert await heed.runs.retry(run.id) is not None
    run = await attempt(heed, run)
    assert (run.state, stages(run)["release"], run.version) == ("succeeded", "done", 2)
    assert [len(heed.calls(stage)) for stage in ("reward", "ppo", "gate")] == [1, 2, 1]
    assert not await _has(heed, run, "ppo/checkpoints")
    assert await marks(heed) == (True, True)


async def test_a_poison_run_stops_after_its_attempts_with_the_end_of_the_log(heed: Platform) -> None:
    heed.plan(reward={"exit": 3})
    run = await queued(heed)
    for number in (1, 2, 3):
        run = await attempt(heed, run)
        assert run.attempt == number
        assert run.state == ("running" if number < 3 else "failed")
    assert (run.error or "").startswith("gave up after 3 attempts; the last one: the trainer exited with 3")
    assert "reward: out of luck at step 0" in (run.error or "")
    assert stages(run)["reward"] == "failed"
    assert await heed.runs.current() is None
    assert await marks(heed) == (True, False)


@pytest.mark.usefixtures("serving")
async def test_an_attempt_after_a_failure_clears_the_error(heed: Platform) -> None:
    heed.plan(reward={"exit": -9})
    run = await attempt(heed, await queued(heed))
    assert "killed by SIGKILL" in (run.error or "")
    heed.plan()
    run = await attempt(heed, run)
    assert (run.state, run.error, run.attempt) == ("succeeded", None, 2)
    assert stages(run)["reward"] == "done"


async def test_a_worker_that_lost_its_run_writes_nothing_more(heed: Platform) -> None:
    """A frozen worker thaws after another one took over: its trainer is killed, its version never appears."""
    heed.plan(ppo={"steps": 100, "step_s": 0.1})
    run = await queued(heed)
    frozen = asyncio.create_task(recipe.retrain(run.id, heed.settings))
    await until(lambda: _has(heed, run, "ppo/checkpoints/000001"))
    claim = None
    while claim is None:  # its owner is not frozen really, and may renew the lease in between
        await heed.redis.delete(f"heed:run:{run.id}:lease")
        claim = await heed.runs.acquire(run.id, "other:1", 30, 3)
    async with asyncio.timeout(5):
        await frozen
    taken = await heed.run(run.id)
    assert (taken.state, taken.owner, taken.token) == ("running", "other:1", claim.token)
    assert stages(taken)["ppo"] == "running"
    assert await marks(heed) == (False, False)


async def test_a_run_that_somebody_works_on_is_left_alone(heed: Platform) -> None:
    run = await queued(heed)
    claim = await heed.runs.acquire(run.id, "other:1", 30, 3)
    assert claim is not None
    await recipe.retrain(run.id, heed.settings)
    assert (await heed.run(run.id)).owner == "other:1"
    assert not heed.calls()


async def test_too_few_votes_end_the_run_with_the_reason(heed: Platform) -> None:
    run = await attempt(heed, await queued(heed, votes=1))
    assert run.state == "failed"
    assert "at least 2 are needed" in (run.error or "")
    assert stages(run)["freeze"] == "failed"
    assert (await heed.run(run.id)).attempt == 1


@pytest.mark.usefixtures("serving")
async def test_a_run_with_too_few_votes_can_be_taken_up_again_with_more(heed: Platform) -> None:
    run = await attempt(heed, await queued(heed, votes=1))
    assert run.state == "failed"
    await heed.vote(text="one more"), await heed.vote(text="and one")
    assert await heed.runs.retry(run.id) is not None
    run = await attempt(heed, run)
    assert run.state == "succeeded"
    assert run.snapshot is not None
    assert run.snapshot.votes == 3


@pytest.mark.usefixtures("serving")
async def test_redis_away_at_a_stage_change_is_waited_for(heed: Platform, redis_server: Any) -> None:
    heed.plan(reward={"steps": 2, "step_s": 0.4})
    run = await queued(heed)
    work = asyncio.create_task(recipe.retrain(run.id, heed.settings))
    await until(lambda: _called(heed, "reward"))
    redis_server.stop()
    await asyncio.sleep(2)  # the reward stage ends meanwhile
    redis_server.start()
    await work
    with suppress(Exception):
        await heed.redis.ping()  # drop the connection of before
    run = await heed.run(run.id)
    assert (run.state, run.attempt, run.version) == ("succeeded", 1, 2)


async def _called(heed: Platform, stage: str) -> bool:
    return bool(heed.calls(stage))


async def test_a_training_that_would_fill_the_disk_does_not_begin(
    heed: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await queued(heed)
    free = shutil.disk_usage("/")._replace(free=200 << 20)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: free)
        ended = await attempt(heed, run)
    assert (ended.state, heed.calls()) == ("failed", [])
    assert "200 MiB are free" in (ended.error or "")
    assert "make room, then retry" in (ended.error or "")
