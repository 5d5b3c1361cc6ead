"""Votes on duels and thumbs on answers."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header, Response

from server import shapes
from server.dependencies import Heed, Me, OwnDuel, Voter
from server.routes.conversations import duel_shown

router = APIRouter(prefix="/api/v1", tags=["votes"])

IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.post("/votes", status_code=201)
async def cast_vote(
    body: shapes.VoteIn, response: Response, heed: Heed, me: Voter, idempotency_key: IdempotencyKey
) -> shapes.CastOut:
    """Vote; the answer comes after the vote is on disk. The same key again is the same vote."""
    began = time.monotonic()
    if isinstance(body, shapes.DuelVoteIn):
        cast = await heed.voting.duel(
            me, body.duel_id, body.choice, idempotency_key, body.comment, body.shown_ms
        )
    else:
        cast = await heed.voting.thumb(me, body.answer_id, body.choice, idempotency_key)
    if cast.created:
        heed.metrics.vote(cast.vote, began)
    else:
        response.status_code = 200
    return shapes.CastOut(
        vote=shapes.vote_out(cast.vote),
        pending=cast.pending,
        min_votes=heed.config.schedule.min_votes,
        reveal=shapes.reveal(cast.vote),
    )


@router.get("/votes/mine")
async def my_votes(heed: Heed, me: Me) -> shapes.VotePage:
    """The caller's votes, newest first."""
    votes = await heed.votes.by_annotator(me.id)
    return shapes.VotePage(items=[shapes.vote_out(vote) for vote in votes])


@router.get("/duels/{duel_id}")
async def get_duel(duel: OwnDuel, heed: Heed) -> shapes.DuelOut:
    """One duel; its versions are named once it is decided."""
    return await duel_shown(heed, duel, await heed.voting.sides(duel))
