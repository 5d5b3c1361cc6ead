"""Held back: which conversations teach a second reward model, and how a failed reward gate ends a run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from store.artifacts import verify
from store.opinions import agreement_of_recent_votes
from store.records import ChatTurn, EngineStatus, PreferencePair, Run, now
from tests.worker_parts import Platform
from workers import recipe
from workers.held_back import JUDGED_PAIRS, as_many_seeds, divide
from workers.schedule import what_waits
from workers.settings import Release
from workers.start_rules import due

pytestmark = pytest.mark.anyio


def pair(conversation: int, number: int) -> PreferencePair:
    return PreferencePair(
        prompt=(ChatTurn(role="user", content=f"{conversation}.{number}"),),
        chosen=(ChatTurn(role="assistant", content="yes"),),
        rejected=(ChatTurn(role="assistant", content="no"),),
        conversation_id=f"conv_{conversation}",
        vote_id=f"vote_{conversation}_{number}",
    )


def write(path: Path, pairs: list[PreferencePair]) -> None:
    path.write_text("".join(one.model_dump_json() + "\n" for one in pairs))


def conversations(path: Path | None) -> list[str | None]:
    assert path is not None
    return [json.loads(line)["conversation_id"] for line in path.read_text().splitlines()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """200 conversations of two pairs and a tie each, and ten held-out pairs."""
    tie = {"preference": 0.5}
    write(
        tmp_path / "train.jsonl",
        [
            pair(number, turn).model_copy(update=tie if turn == 2 else {})
            for number in range(200)
            for turn in range(3)
        ],
    )
    write(tmp_path / "held_out.jsonl", [pair(number, 0) for number in range(1000, 1010)])
    return tmp_path


def test_no_conversation_teaches_both_and_the_same_ones_are_held_back_again(data: Path) -> None:
    parts = divide(data, data / "pairs", 0.2, 20)
    first, second = conversations(parts.pairs), conversations(parts.held_back)
    assert not set(first) & set(second)
    assert len(first) + len(second) == 600
    assert 0.12 < len(second) / 600 < 0.28  # 40 of 200 conversations, give or take
    assert parts.decided == len(second) * 2 // 3  # a tie prefers neither
    again = divide(data, data / "again", 0.2, 20)
    assert conversations(again.held_back) == second


def test_the_second_is_judged_by_what_neither_its_pairs_nor_its_conversations_hold(data: Path) -> None:
    parts = divide(data, data / "pairs", 0.2, 20)
    judged = conversations(parts.judged)
    assert judged[:10] == [f"conv_{number}" for number in range(1000, 1010)]
    assert len(judged) == 10 + JUDGED_PAIRS
    assert not set(judged) & set(conversations(parts.held_back))


def test_few_pairs_are_all_for_the_first(data: Path) -> None:
    few = divide(data, data / "pairs", 0.2, 200)
    assert (few.pairs, few.held_back) == (data / "train.jsonl", None)
    assert few.why.startswith("none: ")
    assert few.why.endswith(" pairs of other conversations, 200 are needed")
    off = divide(data, data / "pairs", 0.0, 20)
    assert (off.pairs, off.held_back, off.why) == (
        data / "train.jsonl", None, "off: schedule.held_back_share is 0",
    )  # fmt: skip


def test_imported_pairs_without_a_conversation_are_divided_by_their_prompt(data: Path) -> None:
    twice = [pair(number, 0).model_copy(update={"conversation_id": None}) for number in range(200)] * 2
    write(data / "train.jsonl", twice)
    parts = divide(data, data / "pairs", 0.2, 20)
    assert parts.held_back is not None
    first, second = (
        {json.loads(line)["prompt"][0]["content"] for line in path.read_text().splitlines()}
        for path in (parts.pairs, parts.held_back)
    )
    assert not first & second
    assert len(first) + len(second) == 200


def test_seed_pairs_do_not_outnumber_the_votes(data: Path) -> None:
    (data / "seeds.jsonl").write_text("".join(f"{number}\n" for number in range(500)))
    parts = divide(data, data / "pairs", 0.2, 20)
    assert len(as_many_seeds(data / "seeds.jsonl", parts).read_text().splitlines()) == parts.decided


async def finished(heed: Platform, run: Run) -> Run:
    await recipe.retrain(run.id, heed.settings)
    return await heed.run(run.id)


@pytest.mark.usefixtures("serving")
async def test_a_second_reward_model_is_trained_apart_and_sealed_beside_the_first(heed: Platform) -> None:
    schedule = heed.settings.schedule.model_copy(update={"min_held_back_pairs": 2, "held_back_share": 0.25})
    heed = replace(heed, settings=replace(heed.settings, schedule=schedule))
    for number in range(60):
        await heed.vote(text=f"Question {number}")
    run = await finished(heed, await heed.runs.request("votes"))
    assert (run.state, run.version, run.error) == ("succeeded", 2, None)
    first, second = heed.calls("reward")
    names = [Path(call[name]).name for call in (first, second) for name in ("pairs", "held-out")]
    assert names == ["first.jsonl", "held_out.jsonl", "held_back.jsonl", "judged.jsonl"]
    assert second["out"] == first["out"] + "/held_back"
    assert second["work"] != first["work"]
    assert "previous" not in second
    [gate] = heed.calls("reward_gate")
    assert (gate["reward-model"], gate["out"]) == (first["out"], first["out"] + "/gate.json")
    sealed = heed.settings.data / "reward_models" / "v0002"
    assert {"gate.json", "held_back/model.safetensors", "model.safetensors"} <= set(verify(sealed)["files"])
    [stage] = [one for one in run.stages if one.stage == "reward"]
    assert stage.summary["held_back_accuracy"] == 0.75
    assert stage.summary["passed"] is True
    assert stage.summary["checks"][0]["name"] == "accuracy"


async def due_now(heed: Platform) -> str | None:
    waiting = await what_waits(heed.votes, heed.redis, heed.settings, agreement_of_recent_votes)
    return due(waiting, heed.settings.schedule, now())


async def test_a_failed_reward_gate_ends_the_run_before_ppo_and_keeps_the_votes(heed: Platform) -> None:
    heed.plan(reward_gate={"passed": False})
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    run = await finished(heed, await heed.runs.request("votes"))

    assert (run.state, run.version) == ("succeeded", None)
    reason = "accuracy: 20% of held-out pairs ranked as the votes say"
    assert run.error == f"held back, the reward model failed its gate: {reason}"
    stages = {one.stage: one for one in run.stages}
    assert {name: one.state for name, one in stages.items()} == {
        "freeze": "done", "reward": "done", "ppo": "skipped", "gate": "skipped", "release": "skipped",
    }  # fmt: skip
    assert stages["release"].summary == {"held_back": [reason]}
    assert stages["reward"].summary["passed"] is False
    assert not heed.calls("ppo")
    assert not heed.calls("gate")
    assert [one.number for one in await heed.policies.versions()] == [1]
    assert not (heed.settings.data / "reward_models" / "v0002").exists()
    # The votes are new to the next run; it begins when two more have come, not at the next tick.
    assert await heed.votes.pending(await heed.votes.mark("trained_through")) == 3
    assert await due_now(heed) is None
    for number in range(2):
        await heed.vote(text=f"More {number}")
    assert await due_now(heed) == "votes"


@pytest.mark.usefixtures("serving")
async def test_a_run_that_died_after_its_failed_reward_gate_is_held_back_again(heed: Platform) -> None:
    heed.plan(reward_gate={"passed": False})
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    run = await finished(heed, await heed.runs.request("votes"))
    text = run.model_copy(update={"state": "running", "ended_at": None, "error": None}).model_dump_json()
    await heed.redis.hset("heed:runs", run.id, text)
    while await heed.redis.exists(f"heed:run:{run.id}:lease"):
        await asyncio.sleep(0.05)
    again = await finished(heed, run)
    assert (again.state, again.version, again.error) == (run.state, None, run.error)
    assert len(heed.calls("reward_gate")) == 1
    assert not heed.calls("ppo")


@pytest.mark.usefixtures("serving")
async def test_a_reward_model_is_compared_with_that_of_a_version_that_went_live(heed: Platform) -> None:
    """Not with the one of a candidate that was held back: it may be the reason."""
    for gate in ({}, {"passed": False}, {}):
        heed.plan(gate=gate)
        for number in range(3):
            await heed.vote(text=f"Question {number}")
        await finished(heed, await heed.runs.request("votes"))
    data = heed.settings.data
    assert [call.get("previous") for call in heed.calls("reward")] == [
        None, str(data / "reward_models" / "v0002"), str(data / "reward_models" / "v0002"),
    ]  # fmt: skip


@pytest.mark.usefixtures("serving")
async def test_a_candidate_that_failed_its_gate_is_no_canary_either(heed: Platform) -> None:
    """With engines that could take one."""
    engines = [
        EngineStatus(name=f"engine-{n}", address="", state="ready", version=1, device=str(n), seen_at=now())
        for n in range(2)
    ]
    await heed.policies.report_engines("server-1", engines)
    heed = replace(heed, settings=replace(heed.settings, release=Release(canary_share=0.5)))
    heed.plan(gate={"passed": False})
    for number in range(3):
        await heed.vote(text=f"Question {number}")
    run = await finished(heed, await heed.runs.request("votes"))
    version = await heed.policies.get(run.version or 0)
    assert version is not None
    assert version.state == "rejected"
    assert await heed.policies.canary() is None
    assert [line.number for line in await heed.policies.timeline()] == [1]
