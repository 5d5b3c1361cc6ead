"""People of whom nothing is known: before their votes train, everybody else's are asked."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store.dataset.checks import cross_fit_path, cross_fits, read_cross_fits
from store.dataset.choice import KNOWN, AnnotatorPart, unknown
from store.records import Run
from tests.worker_parts import Platform
from workers import recipe

pytestmark = pytest.mark.anyio


def part(name: str, votes: int, **more: Any) -> AnnotatorPart:
    return AnnotatorPart(annotator_id=name, votes=votes, **more)


def test_whoever_brings_much_and_is_not_known_is_asked_about() -> None:
    parts = [
        part("ann", 40, checks=KNOWN),
        part("bob", 60, over_cap=20),
        part("cy", 10, checks=KNOWN - 1),
        part("dee", 4),
        part("eve", 300, weight=0.0),
        part("fay", 6),
    ]
    # Of 100 votes that train.
    assert [one.annotator_id for one in unknown(parts, 0.05)] == ["bob", "cy", "fay"]
    assert unknown(parts, 1.0) == []
    # Nobody is compared with fewer than twenty votes of others: those cannot say what to expect.
    assert [one.annotator_id for one in unknown([part("ann", 90), part("bob", 19)], 0.05)] == ["bob"]
    assert unknown([part("ann", 90)], 0.05) == []


async def finished(heed: Platform, run: Run) -> Run:
    await recipe.retrain(run.id, heed.settings)
    return await heed.run(run.id)


async def votes_of_two(heed: Platform) -> None:
    for number in range(24):
        await heed.vote(text=f"Ann {number}")
    for number in range(6):
        await heed.vote("b", text=f"Eve {number}", said={"annotator_id": "eve"})


def manifest(heed: Platform, run: Run) -> dict[str, Any]:
    path = heed.settings.data / "runs" / run.id / "snapshot" / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.usefixtures("serving")
async def test_who_votes_against_everybody_is_left_out_of_the_first_training_already(heed: Platform) -> None:
    heed.plan(cross_fit={"liar": "eve"})
    await votes_of_two(heed)
    run = await finished(heed, await heed.runs.request("votes"))
    assert (run.state, run.version) == ("succeeded", 2), run.error
    frozen = manifest(heed, run)
    assert frozen["position"]["cross_fits"] == [run.id]
    assert frozen["skipped"] == {"contradicts everybody": 6}
    assert {one["annotator_id"]: one["weight"] for one in frozen["annotators"]} == {"ann": 1.0, "eve": 0.0}
    [stage] = [one for one in run.stages if one.stage == "freeze"]
    assert stage.summary["weigh_less"] == 1
    [asked] = heed.calls("cross_fit")
    assert asked["policy"].endswith("policies/v0001")
    kept = [path.name for path in (heed.settings.data / "runs" / run.id).glob("attempt-1/*")]
    assert asked["data"].endswith("attempt-1/believed")
    assert "believed" not in kept, "only what is trained on stays"
    # What was found is known from now on: nobody is asked about twice.
    await heed.vote(text="Ann again")
    second = await finished(heed, await heed.runs.request("votes"))
    assert second.state == "succeeded", second.error
    assert len(heed.calls("cross_fit")) == 1
    assert manifest(heed, second)["skipped"] == {"contradicts everybody": 6}


@pytest.mark.usefixtures("serving")
async def test_where_nobody_lies_all_votes_train(heed: Platform) -> None:
    await votes_of_two(heed)
    run = await finished(heed, await heed.runs.request("votes"))
    frozen = manifest(heed, run)
    assert (frozen["skipped"], frozen["snapshot"]["votes"]) == ({}, 30)
    assert min(one["weight"] for one in frozen["annotators"]) > 0.9
    [stage] = [one for one in run.stages if one.stage == "freeze"]
    assert stage.summary["weigh_less"] == 0


@pytest.mark.usefixtures("serving")
async def test_a_trainer_that_dies_while_it_asks_is_asked_again_and_what_it_found_is_kept(
    heed: Platform,
) -> None:
    heed.plan(cross_fit={"exit": -9})
    await votes_of_two(heed)
    run = await heed.runs.request("votes")
    assert (await finished(heed, run)).state == "running", "another attempt will take it up"
    folder = heed.settings.data / "runs" / run.id
    assert not (folder / "cross_fit.json").exists()
    assert not (folder / "snapshot").exists(), "nothing was frozen before it was known"
    while await heed.redis.exists(f"heed:run:{run.id}:lease"):
        await asyncio.sleep(0.05)
    # As an attempt leaves it that died between asking and freezing.
    margins = {vote.id: -1.0 if vote.annotator_id == "eve" else 1.0 for _, vote in await heed.votes.read()}
    (folder / "cross_fit.json").write_text(json.dumps(margins))
    again = await finished(heed, run)
    assert again.state == "succeeded", again.error
    assert manifest(heed, again)["skipped"] == {"contradicts everybody": 6}
    assert len(heed.calls("cross_fit")) == 1


async def test_of_a_vote_that_several_runs_have_predicted_the_newest_knows_most(tmp_path: Path) -> None:
    for at, (run, margins) in enumerate([("run_b", {"v1": -1.0, "v2": -1.0}), ("run_a", {"v1": 1.0})]):
        path = cross_fit_path(tmp_path, run)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(margins))
        os.utime(path, (at, at))
    runs = cross_fits(tmp_path)
    assert runs == ("run_b", "run_a")
    assert await read_cross_fits(tmp_path, runs) == {"v1": 1.0, "v2": -1.0}


@pytest.mark.usefixtures("serving")
async def test_nobody_is_asked_about_where_trust_is_off(heed: Platform) -> None:
    rules = heed.settings.votes.model_copy(update={"trust": False})
    heed = replace(heed, settings=replace(heed.settings, votes=rules))
    heed.plan(cross_fit={"liar": "eve"})
    await votes_of_two(heed)
    run = await finished(heed, await heed.runs.request("votes"))
    assert manifest(heed, run)["snapshot"]["votes"] == 30
    assert not heed.calls("cross_fit")
