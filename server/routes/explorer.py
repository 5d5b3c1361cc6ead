"""The vote explorer over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from server.auditing import Noted
from server.dependencies import Heed, Reviewer, Watcher
from server.explorer import PAGE
from server.explorer_shapes import (
    ExcludeIn,
    RestoreIn,
    ReviewIn,
    ReviewOut,
    SelectionIn,
    SelectionOut,
    VoteDetail,
    VotesFound,
)
from server.queue_shapes import ItemOut, item_out

router = APIRouter(prefix="/api/v1", tags=["explorer"])

QueryText = Annotated[str, Query(max_length=2000)]


@router.get("/votes")
async def find_votes(
    heed: Heed,
    _: Watcher,
    q: QueryText = "",
    cursor: Annotated[int | None, Query(ge=0)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
) -> VotesFound:
    """Votes that the query finds, newest first; facets with counts come with the first page."""
    return await heed.explorer.find(q, cursor, limit)


@router.get("/votes/{vote_id}")
async def get_vote(vote_id: str, heed: Heed, _: Watcher) -> VoteDetail:
    """One vote: its thread, answers, changes, the other votes on it, the versions that used it."""
    return await heed.explorer.detail(vote_id)


@router.post("/votes/{vote_id}/reviews", status_code=201)
async def review_vote(vote_id: str, body: ReviewIn, heed: Heed, me: Reviewer) -> ReviewOut:
    """A reviewer's own verdict, kept apart from the vote."""
    return await heed.explorer.review(me, vote_id, body)


@router.post("/votes/{vote_id}/queue", status_code=201)
async def ask_others(vote_id: str, heed: Heed, me: Reviewer) -> ItemOut:
    """Put what was voted on into the judging queue, where others judge it blind; twice is one item."""
    conversation, message_id = await heed.explorer.asked(vote_id)
    return item_out(await heed.tasks.flag(me, conversation, message_id, overlap=1), 0)


@router.post("/exclusions")
async def exclude_votes(body: ExcludeIn, heed: Heed, me: Reviewer, note: Noted) -> SelectionOut:
    """Take votes out of training and statistics, with a reason; `dry_run` only counts."""
    found = await heed.explorer.exclude(me, body)
    if found.done and found.votes:
        reason = ": ".join(filter(None, (body.reason, body.note)))
        await note("exclude_votes", _named(body), after={"votes": found.votes}, reason=reason)
    return found


@router.post("/restorations")
async def restore_votes(body: RestoreIn, heed: Heed, me: Reviewer, note: Noted) -> SelectionOut:
    """Let excluded votes count again; `dry_run` only counts."""
    found = await heed.explorer.restore(me, body)
    if found.done and found.votes:
        await note("restore_votes", _named(body), after={"votes": found.votes}, reason=body.note or None)
    return found


def _named(body: SelectionIn) -> str:
    """What the audit log calls the selection: up to five ids, or the query."""
    if body.ids is None:
        return f"votes of `{body.q}`"
    return ", ".join(body.ids[:5]) + (f" and {len(body.ids) - 5} more" if len(body.ids) > 5 else "")
