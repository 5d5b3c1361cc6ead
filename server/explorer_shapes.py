"""What the vote explorer takes and gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from server.shapes import In, Out
from store.explorer.effect import RatingChange
from store.explorer.table import Bar, VoteRow, facet_values
from store.records import ChatTurn, PolicyState

ExcludeReason = Literal["spam", "wrong_language", "private_data", "guideline_breach", "leak", "test"]
MOST_AT_ONCE = 10_000


class VoteRowOut(Out):
    """One line of the explorer."""

    id: str
    at: datetime
    annotator: str
    conversation_id: str
    kind: str
    outcome: str
    strength: int
    prompt: str
    """The beginning of what was asked."""
    versions: list[int]
    """In the order shown."""
    margin: float | None
    """Score of the first answer minus the second's, before the reward model had seen the vote."""
    reward_model: Literal["agree", "disagree", "unknown"]
    shown_ms: int | None
    tags: list[str]
    comment: str | None
    status: str
    reason: str | None
    """Why it is excluded."""
    flags: list[str]
    script: str
    guideline_version: int | None
    used_in: list[int]
    """Versions that were trained on it."""
    review: str | None


class FacetValue(Out):
    value: str
    votes: int


class BarOut(Out):
    start: datetime
    end: datetime
    votes: int


class VotesFound(Out):
    items: list[VoteRowOut]
    """Newest first."""
    next: int | None
    """`cursor` of the next page."""
    total: int
    """Votes that the query finds."""
    of: int
    """Votes in all."""
    facets: dict[str, list[FacetValue]] | None
    """With the first page only."""
    histogram: list[BarOut] | None


class AnswerShown(Out):
    """One answer, as the annotator saw it."""

    id: str
    position: int
    version: int
    text: str
    tokens: int | None
    finish_reason: str | None
    leak: str | None
    rank: int | None
    preferred: bool


class ChangeOut(Out):
    what: str
    by: str
    at: datetime
    outcome: str
    status: str
    reason: str | None


class UsedIn(Out):
    number: int
    state: PolicyState
    run_id: str | None


class ReviewOut(Out):
    by: str
    choice: str
    note: str
    at: datetime


class VoteDetail(Out):
    row: VoteRowOut
    thread: list[ChatTurn]
    """The conversation up to the turn; empty when it was deleted."""
    answers: list[AnswerShown]
    """In the order shown; of an edit the original, then the edited one."""
    changes: list[ChangeOut]
    """Its cast first."""
    others: list[VoteRowOut]
    """Other votes on the same texts."""
    used_in: list[UsedIn]
    reviews: list[ReviewOut]
    """Oldest first; the last one holds."""


class SelectionIn(In):
    """Votes by id, or all that a query finds."""

    ids: list[str] | None = Field(default=None, min_length=1, max_length=MOST_AT_ONCE)
    q: str | None = Field(default=None, max_length=2000)
    dry_run: bool = False
    """Only count what would change."""


Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=400)]


class ExcludeIn(SelectionIn):
    reason: ExcludeReason
    note: Note = ""


class RestoreIn(SelectionIn):
    note: Note = ""


class SelectionOut(Out):
    """What changes, or changed."""

    votes: int
    """Votes that change; those that are in that state already do not."""
    annotators: list[str]
    used_in: list[int]
    """Versions that were trained on one of them."""
    left: int
    """Of the selection, votes that stay as they are."""
    ratings: list[RatingChange]
    """With `dry_run`: versions that are in other duels afterwards, and their ratings before and after."""
    done: bool


class ReviewIn(In):
    choice: Literal["a", "b", "tie", "both_bad", "up", "down"]
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)] = ""


def row_out(row: VoteRow) -> VoteRowOut:
    vote, facets = row.vote, facet_values(row)
    return VoteRowOut.model_validate(
        {
            "id": vote.id,
            "at": vote.created_at,
            "annotator": row.annotator,
            "conversation_id": vote.conversation_id,
            "kind": vote.kind,
            "outcome": vote.choice,
            "strength": vote.strength,
            "prompt": row.prompt,
            "versions": list(row.versions),
            "margin": row.margin,
            "reward_model": facets["rm"][0],
            "shown_ms": vote.shown_ms,
            "tags": list(vote.tags),
            "comment": vote.comment,
            "status": vote.status,
            "reason": vote.exclusion.reason if vote.exclusion else None,
            "flags": list(facets["flag"]),
            "script": row.script,
            "guideline_version": vote.guideline_version,
            "used_in": list(row.used),
            "review": row.review,
        }
    )


def bar_out(bar: Bar) -> BarOut:
    start, end = (datetime.fromtimestamp(at, tz=UTC) for at in (bar.start, bar.end))
    return BarOut(start=start, end=end, votes=bar.votes)
