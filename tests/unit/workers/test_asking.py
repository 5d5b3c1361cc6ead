"""After a training the platform asks about answers that reward models are unsure of, and some by chance."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store.explorer.counted import counted
from store.explorer.index import VoteIndex
from store.queue import Queue
from store.records import QueueItem, Run
from tests.unit.workers.test_snapshot import freeze, rows
from tests.worker_parts import Platform
from workers import recipe
from workers.asking import reward_models, waiting
from workers.choosing import choose, uncertainty
from workers.settings import Asking, Release

pytestmark = pytest.mark.anyio


def test_uncertainty_worked_out_by_hand() -> None:
    # A single model: the entropy of its chance, 0.811 bits at 3/4, which a difference of log 3 gives.
    log_3 = 1.0986122886681098
    assert uncertainty([0.0], [0.0]) == 1.0
    assert uncertainty([log_3], [0.0]) == pytest.approx(0.8112781244591328)
    assert uncertainty([900.0], [0.0]) == 0.0
    # Two: both say a half, so they agree; one is sure of the first and one of the second, a whole bit;
    # 3/4 and 1/4, entropy of the mean 1 less 0.811.
    assert uncertainty([0.0, 0.0], [0.0, 0.0]) == 0.0
    assert uncertainty([90.0, 0.0], [0.0, 90.0]) == pytest.approx(1.0)
    assert uncertainty([log_3, 0.0], [0.0, log_3]) == pytest.approx(1 - 0.8112781244591328)


TEXTS = [[f"{prompt} {answer}" for answer in range(3)] for prompt in range(10)]
# Each prompt's answers lie further apart than those of the prompt before: the first ones are the unsure ones.
SCORES = [[[prompt * 0.5 * answer] for answer in range(3)] for prompt in range(10)]


def chosen(share: float, count: int = 4, seed: int = 0) -> list[Any]:
    return choose(TEXTS, SCORES, count=count, uncertain_share=share, chance=random.Random(seed))


def test_the_most_uncertain_pairs_of_all_prompts_are_taken() -> None:
    found = sorted(chosen(1.0))
    assert [(one.prompt, one.how, one.probability) for one in found] == [
        (prompt, "uncertain", 1.0) for prompt in range(4)
    ]
    assert [one.uncertainty for one in found] == sorted([one.uncertainty for one in found], reverse=True)


def test_a_share_is_drawn_by_chance_first_and_no_prompt_is_asked_twice() -> None:
    for seed in range(20):
        found = chosen(0.5, seed=seed)
        assert sorted(one.how for one in found) == ["random", "random", "uncertain", "uncertain"]
        assert len({one.prompt for one in found}) == 4


def test_chance_takes_every_pair_as_often_as_it_says() -> None:
    # 2 of 10 prompts, one of 3 pairs: 1 in 15. Of 3000 draws 200 are expected, with a deviation of 13.7.
    drawn = [one for seed in range(3000) for one in chosen(0.5, seed=seed) if one.how == "random"]
    assert {round(one.probability, 9) for one in drawn} == {round(1 / 15, 9)}
    times = [sum((one.prompt, one.first, one.second) == (p, 0, 2) for one in drawn) for p in range(10)]
    assert min(times) > 145
    assert max(times) < 255


def test_a_share_of_none_takes_nothing_by_its_uncertainty() -> None:
    assert {one.how for seed in range(20) for one in chosen(0.0, seed=seed)} == {"random"}


def test_answers_that_say_the_same_are_not_compared() -> None:
    found = choose(
        [["same", " same", ""], ["one", "other"]], [[[0.0]] * 3, [[0.0]] * 2],
        count=2, uncertain_share=0.5, chance=random.Random(0),
    )  # fmt: skip
    assert [(one.prompt, one.first, one.second) for one in found] == [(1, 0, 1)]


async def trained(heed: Platform, **asking: Any) -> Run:
    for number in range(3):
        await heed.vote(text=f"Lesson {number}")
    run = await heed.runs.request("votes")
    release = Release(serve_timeout_s=5)
    settings = replace(heed.settings, release=release, asking=Asking(**asking))
    servers = asyncio.create_task(heed.serve())
    await recipe.retrain(run.id, settings)
    servers.cancel()
    await asyncio.gather(servers, return_exceptions=True)
    return await heed.run(run.id)


async def items(heed: Platform) -> list[QueueItem]:
    return [item for item, _ in await Queue(heed.redis).items()]


async def test_after_a_training_the_queue_has_duels_and_how_each_was_chosen(heed: Platform) -> None:
    run = await trained(heed, duels=4, uncertain_share=0.5, answers=3)
    assert run.state == "succeeded"
    found = await items(heed)
    assert [(item.source, item.by, len(item.answers)) for item in found] == [("asked", "heed", 2)] * 4
    how = {item.id: item.asked for item in found}
    assert sorted(asked.how for asked in how.values() if asked) == ["random"] * 2 + ["uncertain"] * 2
    assert {asked.run_id for asked in how.values() if asked} == {run.id}
    # Of the stub's prompts every second has answers that the models are unsure of.
    assert all(asked.uncertainty > 0.9 for asked in how.values() if asked and asked.how == "uncertain")
    asked_with = heed.calls("ask")[0]
    assert (asked_with["answers"], asked_with["version"]) == ("3", "2")
    assert asked_with["policy"].endswith("policies/v0002")
    assert asked_with["reward-model"].endswith("reward_models/v0002")
    assert "previous" not in asked_with


async def test_the_reward_models_before_and_beside_have_a_say(heed: Platform, tmp_path: Path) -> None:
    await trained(heed)
    await trained(heed, duels=2)
    call = heed.calls("ask")[0]
    assert call["reward-model"].endswith("reward_models/v0003")
    assert call["previous"].endswith("reward_models/v0002")
    (tmp_path / "v0002" / "held_back").mkdir(parents=True)
    beside = ["--held-back", tmp_path / "v0002" / "held_back"]
    assert reward_models(tmp_path, 2) == ["--reward-model", tmp_path / "v0002", *beside]


async def test_what_nobody_answers_does_not_pile_up(heed: Platform) -> None:
    await trained(heed, duels=3)
    await trained(heed, duels=3)
    assert len(await items(heed)) == 3
    await trained(heed, duels=4)
    assert len(await items(heed)) == 4


async def test_a_second_attempt_at_the_same_run_asks_for_the_same(heed: Platform) -> None:
    run = await trained(heed, duels=3)
    before = await Queue(heed.redis).items()
    assert [waiting(before, run_id) for run_id in (run.id, "another")] == [0, 3]
    assert await Queue(heed.redis).add([item for item, _ in before]) == 0


async def test_it_is_off_unless_somebody_wants_it(heed: Platform) -> None:
    await trained(heed)
    assert await items(heed) == []
    assert heed.calls("ask") == []


async def test_that_it_fails_changes_nothing_about_the_run(heed: Platform) -> None:
    heed.plan(ask={"exit": 1})
    run = await trained(heed, duels=3)
    assert (run.state, run.version, run.error) == ("succeeded", 2, None)
    assert await items(heed) == []


async def test_what_was_asked_for_its_uncertainty_teaches_and_measures_nothing(heed: Platform) -> None:
    for number in range(12):
        how = "uncertain" if number % 2 else "random"
        await heed.vote(text=f"Asked {number}", said={"item_id": f"item_{number}", "asked": how})
    await freeze(heed, held_out_share=0.9)
    train, judge = (asked_texts(heed, name) for name in ("train.jsonl", "held_out.jsonl"))
    assert train >= {f"Asked {n}" for n in range(1, 12, 2)}
    assert judge
    assert judge < {f"Asked {n}" for n in range(0, 12, 2)}
    index = VoteIndex(heed.redis, heed.settings.data)
    given = counted((await index.refresh()).rows)
    assert len(given.judgements) == 6


def asked_texts(heed: Platform, name: str) -> set[str]:
    return {row["prompt"][-1]["content"] for row in rows(heed, name)}
