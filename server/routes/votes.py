"""Votes: cast, change, undo, look at one's own; and which votes a version learned from."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated, assert_never

from fastapi import APIRouter, Depends, Header, Query, Response

from server import shapes, vote_shapes
from server.dependencies import Admin, Heed, Me, OwnDuel, Parts, Voter
from server.errors import not_found
from server.limits import limit_votes
from server.routes.conversations import duel_shown
from server.votes import Cast, VoteService
from store.records import Account, Vote, VoteKind, VoteStatus, now

router = APIRouter(prefix="/api/v1", tags=["votes"])

IdempotencyKey = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]

PAGE = 50
LOOKED_THROUGH = 200
EXCERPT = 280
WEEK = timedelta(days=7)


@router.post("/votes", status_code=201, dependencies=[Depends(limit_votes)])
async def cast_vote(
    body: vote_shapes.VoteIn, response: Response, heed: Heed, me: Voter, idempotency_key: IdempotencyKey
) -> vote_shapes.CastOut:
    """Vote; the answer comes after the vote is on disk. The same key again is the same vote."""
    began = time.monotonic()
    cast = await _cast(heed.voting, me, body, idempotency_key)
    if cast.created:
        heed.metrics.vote(cast.vote, began)
    else:
        response.status_code = 200
    return await _cast_out(heed, cast)


async def _cast(voting: VoteService, me: Account, body: vote_shapes.VoteIn, key: str) -> Cast:
    tags, comment, shown_ms = body.tags, body.comment, body.shown_ms
    match body:
        case vote_shapes.DuelVoteIn():
            return await voting.duel(
                *(me, body.duel_id, body.choice, key, comment, shown_ms), strength=body.strength, tags=tags
            )
        case vote_shapes.ThumbIn():
            return await voting.thumb(
                me, body.answer_id, body.choice, key, tags=tags, comment=comment, shown_ms=shown_ms
            )
        case vote_shapes.RankingIn():
            return await voting.ranking(me, body.ranking, key, tags=tags, comment=comment, shown_ms=shown_ms)
        case vote_shapes.EditIn():
            return await voting.edit(
                me, body.answer_id, body.text, key, tags=tags, comment=comment, shown_ms=shown_ms
            )
    assert_never(body)


@router.patch("/votes/{vote_id}")
async def change_vote(
    vote_id: str, body: vote_shapes.VoteChangeIn, heed: Heed, me: Me
) -> vote_shapes.CastOut:
    """Add reasons or a comment to one's own vote; change the choice while it can be undone."""
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    required = {name: value for name, value in changes.items() if value is not None or name == "comment"}
    return await _cast_out(heed, await heed.voting.amend(me, vote_id, required))


@router.delete("/votes/{vote_id}")
async def undo_vote(vote_id: str, heed: Heed, me: Me) -> vote_shapes.CastOut:
    """Take one's own vote back: for ten minutes, and after that until a training begins with it.

    The log keeps it, marked undone; its duel can be voted on again.
    """
    return await _cast_out(heed, await heed.voting.undo(me, vote_id))


@router.get("/votes/mine")
async def my_votes(
    heed: Heed,
    me: Me,
    kind: VoteKind | None = None,
    status: VoteStatus | None = None,
    before: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE,
) -> vote_shapes.MyVotePage:
    """The caller's votes, newest first."""
    chosen: list[Vote] = []
    votes = await heed.votes.by_annotator(me.id, LOOKED_THROUGH, before)
    while votes and len(chosen) <= limit:
        chosen += [vote for vote in votes if kind in (None, vote.kind) and status in (None, vote.status)]
        votes = await heed.votes.by_annotator(me.id, LOOKED_THROUGH, votes[-1].id)
    page = chosen[:limit]
    changeable = await heed.voting.changeable(page)
    return vote_shapes.MyVotePage(
        items=[await _my_vote(heed, vote, can) for vote, can in zip(page, changeable, strict=True)],
        next=page[-1].id if len(chosen) > limit else None,
        this_week=await heed.votes.count_since(me.id, now() - WEEK),
    )


@router.get("/duels/{duel_id}")
async def get_duel(duel: OwnDuel, heed: Heed) -> shapes.DuelOut:
    """One duel; its versions are named once it is decided."""
    return await duel_shown(heed, duel, await heed.voting.sides(duel))


@router.get("/policies/{number}/taint")
async def get_taint(number: int, heed: Heed, _: Admin) -> vote_shapes.TaintOut:
    """The votes that this version learned from and that were undone or excluded since."""
    version = await heed.policies.get(number)
    if version is None:
        raise not_found("version")
    run_id = version.run_id or ""
    tainted = await heed.votes.several(sorted(await heed.lineage.tainted_by(run_id)))
    return vote_shapes.TaintOut(
        used=len(await heed.lineage.votes(run_id)),
        tainted_by=[vote_shapes.vote_out(vote, changeable=False) for vote in tainted],
    )


async def _cast_out(heed: Parts, cast: Cast) -> vote_shapes.CastOut:
    (changeable,) = await heed.voting.changeable([cast.vote])
    return vote_shapes.CastOut(
        vote=vote_shapes.vote_out(cast.vote, changeable=changeable),
        pending=cast.pending,
        min_votes=(await heed.schedule()).min_votes,
        reveal=vote_shapes.reveal(cast.vote),
    )


async def _my_vote(heed: Parts, vote: Vote, changeable: bool) -> vote_shapes.MyVote:
    """A vote with the beginnings of what it is about."""
    is_there = await heed.conversations.get(vote.conversation_id) is not None
    names = [about.answer_id for about in vote.answers]
    answers = [await heed.conversations.answer(name) if is_there else None for name in names]
    parent = next((answer.parent_id for answer in answers if answer), None)
    message = await heed.conversations.message(vote.conversation_id, parent) if parent else None
    shown = vote_shapes.vote_out(vote, changeable=changeable)
    return vote_shapes.MyVote(
        **dict(shown),
        prompt=message.text[:EXCERPT] if message else None,
        texts=tuple(answer.text[:EXCERPT] if answer else None for answer in answers),
    )
