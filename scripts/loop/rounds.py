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
    over: bool = False
    """Played to its end."""
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
    """The rounds so far, the last one perhaps cut short, and what each version answered to unseen prompts."""

    plan: Plan
    rounds: list[Round] = field(default_factory=list)
    answers: dict[int, list[str]] = field(default_factory=dict)
    """Of each version that an engine held; the first one is the version before the first round."""
    active: int | None = None
    """The version that answers after the last round."""


@dataclass
class Scene:
    """Who is there and what happened."""

    played: Played
    crowd: Crowd
    watcher: Watcher
    unseen: Sequence[str]

    @property
    def plan(self) -> Plan:
        return self.played.plan

    async def ask(self, version: int) -> None:
        print(f"Asking v{version} {len(self.unseen)} prompts that no vote sees", flush=True)
        self.played.answers[version] = await ask_all(self.watcher.client, self.unseen, f"v{version}")


async def play(client: Client, prompts: Sequence[str], played: Played) -> None:
    """All rounds, with `client` as the onlooker; `played` grows with them. Raises Stuck, Refused."""
    plan = played.plan
    unseen, fresh = prompts[: plan.asked], iter(prompts[plan.asked :])
    async with gathered(client, plan.people, fresh) as crowd:
        scene = Scene(played, crowd, Watcher(client), unseen)
        await scene.ask(await scene.watcher.active())
        for number in range(1, plan.rounds + 1):
            await one_round(number, scene)
            played.active = await scene.watcher.active()


async def one_round(number: int, scene: Scene) -> None:
    """Votes, the run that they start, and what becomes of its version. Raises Stuck, Refused."""
    watcher = scene.watcher
    this = Round(number, flipped=number == scene.plan.flipped, parent=await watcher.active())
    scene.played.rounds.append(this)
    await _vote_until_a_run_starts(this, scene)
    with this.timed("training"):
        this.run = await watcher.follow_run()
    this.seconds |= stage_seconds(this.run)
    if this.run["state"] in ("failed", "cancelled"):
        raise Stuck(f"The training ended as {this.run['state']}: {this.run['error']}")
    if (version := this.run["version"]) is None:
        this.reason = this.run["error"] or ""
        print(f"No version came out: {this.reason}", flush=True)
    else:
        this.version = await watcher.version(version)
        if await watcher.served(version):
            await _try(version, this, scene)
        this.version, this.reason = await watcher.version(version), await watcher.decided(version)
        print(f"v{version} is {this.version['state']}: {this.reason}", flush=True)
    this.over = True


async def _vote_until_a_run_starts(this: Round, scene: Scene) -> None:
    before = await scene.watcher.newest_run()
    how = "against the rule" if this.flipped else "by the rule"
    print(f"\nRound {this.number}: people vote {how} until a training starts", flush=True)
    with this.timed("votes"):
        begun = scene.watcher.another_run_than(before["id"] if before else None)
        await scene.crowd.vote_until(begun, scene.plan.annotator(this.number, for_training=True), this.votes)
    print(f"The training, on {len(this.votes)} more votes", flush=True)


async def _try(version: int, this: Round, scene: Scene) -> None:
    """Hear what it answers; as long as it is a canary, vote on its duels."""
    with this.timed("answers"):
        await scene.ask(version)
    with this.timed("canary"):
        ended = scene.watcher.no_canary(version)
        if not await ended():
            print(f"v{version} is a canary: people vote until that is decided", flush=True)
            annotator = scene.plan.annotator(this.number, for_training=False)
            await scene.crowd.vote_until(ended, annotator, this.canary_votes)
