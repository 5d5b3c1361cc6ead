"""Gather: what a training would learn from at one position of the log. The same position gives the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from store.conversations import Conversations
from store.dataset.checks import (
    checks_of,
    cross_fits,
    is_predicted,
    margins_of_opinions,
    read_cross_fits,
    read_margins,
)
from store.dataset.choice import choose
from store.dataset.pairs import Found, find_pairs
from store.dataset.rules import VoteRules
from store.dataset.trust import Checks, weights
from store.opinions import Opinions
from store.queue import Queue
from store.records import Record
from store.stream_ids import when
from store.votes import VoteLog


class Position(Record):
    """Where a data set was cut: with the same votes, reward models and texts it can be made again."""

    through: str
    """Stream id of the last cast or change that was looked at."""
    trained_through: str
    """Votes after this one are new."""
    reward_models: int
    """The newest reward model there was: those up to it say whom to trust."""
    opinions: int = 0
    """How many opinions had been formed by then, which say it of votes that no such model has met."""
    cross_fits: tuple[str, ...] = ()
    """Runs that had asked what everybody else's votes say of an annotator of whom nothing was known."""


async def position_now(votes: VoteLog, opinions: Opinions, volume: Path) -> Position:
    sealed = [int(folder.name[1:]) for folder in (volume / "reward_models").glob("v[0-9]*")]
    return Position(
        through=await votes.newest(),
        trained_through=await votes.mark("trained_through"),
        reward_models=max(sealed, default=0),
        opinions=await opinions.formed(),
        cross_fits=await asyncio.to_thread(cross_fits, volume),
    )


async def gather(
    votes: VoteLog,
    conversations: Conversations,
    queue: Queue,
    opinions: Opinions,
    volume: Path,
    *,
    at: Position,
    rules: VoteRules,
    max_pairs: int,
) -> Found:
    """The pairs of every vote that counts, as the votes were at that position. Raises StoreUnavailable."""
    casts = await votes.read(through=at.through)
    trust, known = dict[str, float](), Counter[str]()
    if rules.trust:
        cast = [vote for _, vote in casts]
        margins = await read_margins(volume, at.reward_models)
        margins |= await margins_of_opinions(
            [vote for vote in cast if vote.id not in margins], opinions, at.opinions
        )
        margins = await read_cross_fits(volume, at.cross_fits) | margins
        checks = await checks_of(cast, queue, when(at.through), margins)
        trust = weights(checks)
        known.update(vote.annotator_id for vote in cast if is_predicted(vote, margins))
        known.update({name: _verdicts(by_source) for name, by_source in checks.items()})
    choice = choose(casts, trust=trust, rules=rules, max_pairs=max_pairs)
    choice.annotators = [
        part.model_copy(update={"checks": known[part.annotator_id]}) for part in choice.annotators
    ]
    return await find_pairs(
        choice, conversations, trust=trust, trained_through=at.trained_through, max_pairs=max_pairs
    )


def _verdicts(by_source: Checks) -> int:
    return sum(int(by_source[source].n) for source in ("gold", "others") if source in by_source)
