"""What the reward model thought: of one vote's answers, and of versions against what people thought."""

from __future__ import annotations

from fastapi import APIRouter

from server.dependencies import Heed, Signed, Watcher
from server.errors import not_found
from server.hacking_shapes import HackingOut
from server.opinion_shapes import OpinionOut
from server.opinions import opinion_of

router = APIRouter(prefix="/api/v1", tags=["opinions"])


@router.get("/votes/{vote_id}/opinion")
async def get_opinion(vote_id: str, heed: Heed, caller: Signed) -> OpinionOut:
    """What the reward model thought of the answers that a vote is about; ask again while it waits.

    Of one's own vote, or of any where one may look at all of them.
    """
    vote = await heed.votes.get(vote_id)
    if vote is None or not (vote.annotator_id == caller.account.id or caller.may("watch", "GET")):
        raise not_found("vote")
    return await opinion_of(heed, vote)


@router.get("/hacking")
async def get_hacking(heed: Heed, _: Watcher) -> HackingOut:
    """The reward hacking watch: score against human win rate of the same answers, version by version."""
    told = await heed.hacking.told()
    return HackingOut(
        level=told.finding.level if told else "quiet",
        words=told.words if told else "",
        since=told.since if told else None,
        judged=told.finding.versions if told else (),
        look_back=heed.config.hacking.versions,
        versions=await heed.statistics.watched(),
    )
