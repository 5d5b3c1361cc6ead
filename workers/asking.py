"""After a training: new duels for the annotators' queue, of the active version's answers to bundled prompts.

What people wrote is not among the prompts: nobody else is shown it without somebody's doing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from store.json_lines import read_lines
from store.records import AskedAnswers, AskedAs, QueueItem, now
from workers.attempt import Work, write_durably
from workers.child import StageFailed, run_trainer
from workers.choosing import Choice, choose
from workers.lease import Cancelled, patiently
from workers.settings import Asking
from workers.snapshot import read_prompts

ACTOR = "heed"
PROMPTS_FOR_EACH = 2
"""Prompts that are answered for each duel that is asked for: there is something to choose from."""

logger = logging.getLogger(__name__)


async def ask(work: Work, number: int) -> int:
    """How many duels were put into the queue: so many that `duels` of them wait.

    `number`: of the version and the reward model that this run made. Safe to repeat: the items of a run have
    their ids from it. That it fails, or that somebody cancels the run meanwhile, changes nothing about the
    version that has come out, and is only logged.
    """
    asking = work.settings.asking
    if asking.duels == 0:
        return 0
    missing = asking.duels - waiting(await patiently(work.queue.items), work.claim.run_id)
    if missing <= 0:
        return 0
    try:
        answered = await _answered(work, missing, number)
    except (StageFailed, Cancelled) as error:
        logger.warning("no duels were asked for: %s", error)
        return 0
    items = chosen_items(answered, missing, asking, work.claim.run_id)
    return await patiently(lambda: work.queue.add(items))


def chosen_items(answered: list[AskedAnswers], count: int, asking: Asking, run_id: str) -> list[QueueItem]:
    """The queue's items, each with how it was chosen."""
    chosen = choose(
        [[answer.text for answer in one.answers] for one in answered],
        [one.scores for one in answered],
        count=count,
        uncertain_share=asking.uncertain_share,
        chance=random.Random(run_id),
    )
    return [_item(answered[choice.prompt], choice, number, run_id) for number, choice in enumerate(chosen)]


def _item(of: AskedAnswers, choice: Choice, number: int, run_id: str) -> QueueItem:
    return QueueItem(
        id=f"item_{run_id}_{number}",
        prompt=of.prompt,
        answers=(of.answers[choice.first], of.answers[choice.second]),
        asked=AskedAs(
            how=choice.how, probability=choice.probability, uncertainty=choice.uncertainty, run_id=run_id
        ),
        source="asked",
        by=ACTOR,
        created_at=now(),
    )


def waiting(items: Sequence[tuple[QueueItem, int]], run_id: str) -> int:
    """Duels of earlier runs that lack verdicts: what nobody answers does not pile up."""
    return sum(
        item.asked is not None and item.asked.run_id != run_id and verdicts < item.overlap
        for item, verdicts in items
    )


async def _answered(work: Work, missing: int, number: int) -> list[AskedAnswers]:
    """Several answers of the active version to each prompt, with the scores of the reward models."""
    active = await patiently(work.policies.active)
    assert active is not None
    bundled = await asyncio.to_thread(read_prompts, work.settings.prompts)
    chance = random.Random(work.claim.run_id)
    wanted = chance.sample(bundled, min(len(bundled), PROMPTS_FOR_EACH * missing))
    prompts, out = work.attempt / "asking" / "prompts.jsonl", work.attempt / "asking" / "answers.jsonl"
    prompts.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"prompt": [turn.model_dump() for turn in prompt]} for prompt in wanted]
    write_durably(prompts, "".join(json.dumps(line) + "\n" for line in lines))
    out.unlink(missing_ok=True)
    arguments = (
        *("--policy", work.policies.folder(active), "--version", active.number),
        *("--answers", work.settings.asking.answers, "--prompts", prompts, "--out", out),
        *reward_models(work.settings.data / "reward_models", number),
    )
    command = [*work.settings.start_of("ask"), "--config", str(work.config), *map(str, arguments)]
    await run_trainer(command, work.attempt / "ask.log", work.lease)
    read = TypeAdapter(AskedAnswers)
    return [read.validate_json(line) for line in read_lines(out)]


def reward_models(folder: Path, number: int) -> list[object]:
    """This run's, the newest before it, and the one that learned from other votes, where there are such."""
    own = folder / f"v{number:04d}"
    found: list[object] = ["--reward-model", own]
    if before := [one for one in sorted(folder.glob("v[0-9]*")) if one.name < own.name]:
        found += ["--previous", before[-1]]
    if (own / "held_back").is_dir():
        found += ["--held-back", own / "held_back"]
    return found
