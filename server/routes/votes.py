"""Votes on duels and thumbs on answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from server import shapes
from server.dependencies import Heed, Me
from server.errors import not_found
from server.metrics import VOTES
from server.routes.conversations import duel_shown

router = APIRouter(prefix="/api/v1", tags=["votes"])

IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.post("/votes", status_code=201)
async def cast_vote(
    body: shapes.VoteIn, response: Response, heed: Heed, me: Me, idempotency_key: IdempotencyKey
) -> shapes.CastOut:
    """Vote; the answer comes after the vote is on disk. The same key again is the same vote."""
    if isinstance(body, shapes.DuelVoteIn):
        cast = await heed.voting.duel(
            me, body.duel_id, body.choice, idempotency_key, body.comment, body.shown_ms
        )
    else:
        cast = await heed.voting.thumb(me, body.answer_id, body.choice, idempotency_key)
    if cast.created:
        VOTES.labels(kind=cast.vote.kind, choice=cast.vote.choice).inc()
    else:
        response.status_code = 200
    vote = cast.vote
    reveal = None
    if vote.version_a is not None and vote.version_b is not None:
        reveal = shapes.Reveal(version_a=vote.version_a, version_b=vote.version_b)
    min_votes = heed.config.schedule.min_votes
    return shapes.CastOut(
        vote=shapes.vote_out(vote), pending=cast.pending, min_votes=min_votes, reveal=reveal
    )


@router.get("/votes/mine")
async def my_votes(heed: Heed, me: Me) -> shapes.VotePage:
    """The caller's votes, newest first."""
    votes = await heed.votes.by_annotator(me.id)
    return shapes.VotePage(items=[shapes.vote_out(vote) for vote in votes])


@router.get("/duels/{duel_id}")
async def get_duel(duel_id: str, heed: Heed, me: Me) -> shapes.DuelOut:
    """One duel; its versions are named once it is decided."""
    duel = await heed.conversations.duel(duel_id)
    if duel is None or duel.owner_id != me.id:
        raise not_found("duel")
    return await duel_shown(heed, duel, await heed.conversations.answers(duel.conversation_id))
