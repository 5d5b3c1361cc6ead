"""The vote explorer over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from server.dependencies import Admin, Heed
from server.explorer import PAGE
from server.explorer_shapes import (
    ExcludeIn,
    RestoreIn,
    ReviewIn,
    ReviewOut,
    SelectionOut,
    VoteDetail,
    VotesFound,
)
from store.records import AuditEvent, now

router = APIRouter(prefix="/api/v1", tags=["explorer"])

QueryText = Annotated[str, Query(max_length=2000)]


@router.get("/votes")
async def find_votes(
    heed: Heed,
    _: Admin,
    q: QueryText = "",
    cursor: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
) -> VotesFound:
    """Votes that the query finds, newest first; facets with counts come with the first page."""
    return await heed.explorer.find(q, cursor, limit)


@router.get("/votes/{vote_id}")
async def get_vote(vote_id: str, heed: Heed, _: Admin) -> VoteDetail:
    """One vote: its thread, answers, changes, the other votes on it, the versions that used it."""
    return await heed.explorer.detail(vote_id)


@router.post("/votes/{vote_id}/reviews", status_code=201)
async def review_vote(vote_id: str, body: ReviewIn, heed: Heed, me: Admin) -> ReviewOut:
    """A reviewer's own verdict, kept apart from the vote."""
    return await heed.explorer.review(me, vote_id, body)


@router.post("/exclusions")
async def exclude_votes(body: ExcludeIn, heed: Heed, me: Admin) -> SelectionOut:
    """Take votes out of training and statistics, with a reason; `dry_run` only counts."""
    found = await heed.explorer.exclude(me, body)
    if found.done and found.votes:
        detail = {"reason": body.reason, "note": body.note, "query": body.q, "votes": found.votes}
        await heed.audit.append(
            AuditEvent(
                actor=me.id, action="exclude_votes", object=_named(body.ids, body.q), detail=detail, at=now()
            )
        )
    return found


@router.post("/restorations")
async def restore_votes(body: RestoreIn, heed: Heed, me: Admin) -> SelectionOut:
    """Let excluded votes count again; `dry_run` only counts."""
    found = await heed.explorer.restore(me, body)
    if found.done and found.votes:
        detail = {"note": body.note, "query": body.q, "votes": found.votes}
        await heed.audit.append(
            AuditEvent(
                actor=me.id, action="restore_votes", object=_named(body.ids, body.q), detail=detail, at=now()
            )
        )
    return found


def _named(ids: list[str] | None, q: str | None) -> str:
    """What the audit log calls the selection: up to five ids, or the query."""
    if ids is None:
        return f"votes of `{q}`"
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
