"""The answers of a turn while they are written: the versions they are to get, and what each has said."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.engines.engine import Lease
from store.records import Answer, Conversation, Duel, Message, Sampling, new_id, now


@dataclass
class Side:
    """One answer of the turn while it is written."""

    answer: Answer
    place: int
    """Which of the turn's leases is its own."""
    said: str = ""
    """Its text, with what an interrupted try had said."""
    sent: int = 0
    """Characters of it that the stream has."""
    lease: Lease | None = None
    before: tuple[int, ...] = ()
    """Versions that made what was said before this lease."""
    outcome: Answer | None = None
    """The ended answer; None while it speaks."""
    told: bool = False
    stopping: bool = False
    cutoff: asyncio.Timeout | None = None
    began_at: float | None = None
    """When its first engine took it, by the monotonic clock."""
    first_word_s: float | None = None
    """From then to its first word."""

    def begin(self, lease: Lease) -> None:
        """Speak on this lease, after the words that are there already."""
        changes: dict[str, Any] = {"policy_version": lease.version}
        if self.said:
            self.before = self.made_by()
            changes = {"continued": (*self.answer.continued, len(self.said))}
        self.lease = lease
        self.began_at = self.began_at or time.monotonic()
        self.answer = self.answer.model_copy(update=changes | {"versions": self.made_by()})

    def hear(self, text: str) -> None:
        """More words of it."""
        if self.first_word_s is None and self.began_at is not None:
            self.first_word_s = time.monotonic() - self.began_at
        self.said += text

    def made_by(self) -> tuple[int, ...]:
        """Every version that made part of the text, in order."""
        if self.lease is None:
            return self.answer.versions
        same = self.before[-1:] == self.lease.versions[:1]
        return (*self.before, *self.lease.versions[same:])


def new_sides(
    conversation: Conversation,
    message: Message,
    planned: Sequence[int],
    sampling: Sampling,
    stream_id: str,
    seed: int,
) -> tuple[list[Side], Duel | None]:
    """The answers, each with the version it is to get; in a duel the seed decides which becomes side a."""
    is_duel = len(planned) == 2
    at = now()
    places = [*range(len(planned))]
    if is_duel and random.Random(seed).random() < 0.5:
        places.reverse()
    duel_id = new_id("duel") if is_duel else None
    sides = []
    for number, place in enumerate(places):
        # One sampling seed for both sides would draw the same answer twice.
        own_seed = None if sampling.seed is None else sampling.seed + number
        answer = Answer(
            id=new_id("ans"),
            conversation_id=conversation.id,
            parent_id=message.id,
            stream_id=stream_id,
            duel_id=duel_id,
            side=("a", "b")[number] if is_duel else None,
            policy_version=planned[place],
            versions=(planned[place],),
            sampling=sampling.model_copy(update={"seed": own_seed}),
            created_at=at,
        )
        sides.append(Side(answer, place))
    if duel_id is None:
        return sides, None
    duel = Duel(
        id=duel_id,
        conversation_id=conversation.id,
        parent_id=message.id,
        stream_id=stream_id,
        answer_a=sides[0].answer.id,
        answer_b=sides[1].answer.id,
        seed=seed,
        owner_id=conversation.owner_id,
        created_at=at,
    )
    return sides, duel
