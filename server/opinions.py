"""The reward model's opinion of a vote's answers: scored, still to come, or never."""

from __future__ import annotations

import math

from server.dependencies import Parts
from server.opinion_shapes import OpinionOut
from store.opinions import Opinion
from store.records import Vote
from store.stream_ids import position

NONE = OpinionOut(state="none")


async def opinion_of(heed: Parts, vote: Vote) -> OpinionOut:
    """Only of a vote that stands: an undone one has opened its duel again. Raises StoreUnavailable."""
    if vote.status == "undone" or vote.kind not in ("duel", "ranking") or vote.choice == "skip":
        return NONE
    found = await heed.opinions.get(vote.id)
    if found is not None:
        return _shown(found)
    if heed.config.opinions.every_s == 0 or not await _has_reward_model(heed, vote):
        return NONE
    entry = await heed.votes.entry(vote.id) or "0"
    passed_over = position(entry) <= position(await heed.votes.mark("scored_through"))
    return NONE if passed_over else OpinionOut(state="waiting")


async def _has_reward_model(heed: Parts, vote: Vote) -> bool:
    version = await heed.policies.get(max(vote.versions, default=0))
    return version is not None and version.reward_model is not None


def _shown(opinion: Opinion) -> OpinionOut:
    margin = opinion.margin or 0.0
    return OpinionOut(
        state="scored",
        reward_model=opinion.reward_model,
        answers=opinion.answers,
        prefers=("a" if margin > 0 else "b") if margin else None,
        chance=1 / (1 + math.exp(-abs(margin))) if margin else None,
        learned_from=opinion.learned_from,
    )
