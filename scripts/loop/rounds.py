"""Rounds of the loop: vote until a run starts by itself, wait for its version, try it, see what became of it.

The people only chat and vote. That a run starts, that a version is held back, tried as a canary, promoted or
rolled back is done by Heed alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from scripts.loop.annotators import Annotator
from scripts.loop.client import Client, Stuck, Voted
from scripts.loop.crowd import Crowd, ask_all, gathered
from scripts.loop.watch import Watcher, stage_seconds

STEPS = ("votes", "training", "answers", "canary")
"""What a round spends its time on."""


@dataclass(frozen=True)
class Plan:
    """What the people do."""

    rounds: int
    right: float
    """Probability with which an annotator follows the rule."""
    flipped: int | None = None
    """The round whose votes for training are wrong as often as they are right in the others."""
    people: int = 8
    asked: int = 100
    """Prompts kept apart: no vote and no rollout sees them, each version answers them."""

    def annotator(self, number: int, *, for_training: bool) -> Annotator:
        """Who votes in a round; on a canary they are right again after the flipped votes."""
        wrong = for_training and number == self.flipped
        return Annotator(1 - self.right if wrong else self.right, random.Random(f"{number} {for_training}"))


@dataclass
class Round:
    """What happened."""

    number: int
    flipped: bool
    parent: int
    """The version that answered before."""
    votes: list[Voted] = field(default_factory=list)
    """Before the run, all on answers of the parent."""
    canary_votes: list[Voted] = field(default_factory=list)
    """While the version was a canary, on all duels."""
    run: dict[str, Any] = field(default_factory=dict)
    version: dict[str, Any] | None = None
    """The record of the version that came out, as it was at the end of the round; None: none came out."""
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long the step took."""
        began = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - began


@dataclass
class Played:
    """All rounds, and what each version answered to the prompts that nobody voted on."""

    plan: Plan
    rounds: list[Round]
    first: int
    """The version that answered before the first round."""
    answers: dict[int, list[str]]
    active: int
    """The version that answers in the end."""


async def play(client: Client, prompts: Sequence[str], plan: Plan) -> Played:
    """All rounds, with `client` as the onlooker. Raises Stuck, Refused."""
    unseen, fresh = prompts[: plan.asked], iter(prompts[plan.asked :])
    watcher = Watcher(client)
    first = await watcher.active()
    print(f"Asking v{first} {len(unseen)} prompts that no vote will see", flush=True)
    answers = {first: await ask_all(client, unseen, f"v{first}")}
    rounds = []
    async with gathered(client, plan.people, fresh) as crowd:
        for number in range(1, plan.rounds + 1):
            rounds.append(await one_round(number, plan, crowd, watcher, unseen, answers))
    return Played(plan, rounds, first, answers, await watcher.active())


async def one_round(
    number: int,
    plan: Plan,
    crowd: Crowd,
    watcher: Watcher,
    unseen: Sequence[str],
    answers: dict[int, list[str]],
) -> Round:
    """One round; what its version answers is added to `answers` when an engine gets to hold it."""
    this = Round(number, flipped=number == plan.flipped, parent=await watcher.active())
    before = await watcher.newest_run()
    who = "people vote by the rule" if not this.flipped else "people vote against the rule"
    print(f"\nRound {number}: {who} until a training starts", flush=True)
    with this.timed("votes"):
        begun = watcher.another_run_than(before["id"] if before else None)
        this.votes = await crowd.vote_until(begun, plan.annotator(number, for_training=True))
    print(f"The training, on {len(this.votes)} more votes", flush=True)
    with this.timed("training"):
        this.run = await watcher.follow_run()
    this.seconds |= stage_seconds(this.run)
    if this.run["state"] in ("failed", "cancelled"):
        raise Stuck(f"The training ended as {this.run['state']}: {this.run['error']}")
    if (version := this.run["version"]) is None:
        this.reason = this.run["error"] or ""
        print(f"No version came out: {this.reason}", flush=True)
        return this
    if await watcher.served(version):
        print(f"Asking v{version} the same {len(unseen)} prompts", flush=True)
        with this.timed("answers"):
            answers[version] = await ask_all(watcher.client, unseen, f"v{version}")
        with this.timed("canary"):
            ended, annotator = watcher.no_canary(version), plan.annotator(number, for_training=False)
            if not await ended():
                print(f"v{version} is a canary: people vote until that is decided", flush=True)
                this.canary_votes = await crowd.vote_until(ended, annotator)
    this.version, this.reason = await watcher.version(version), await watcher.decided(version)
    print(f"v{version} is {this.version['state']}: {this.reason}", flush=True)
    return this
