"""What the vote API takes and gives. What a vote checks (gold, repeat) is never shown to its annotator."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from server.shapes import In, Out, Text
from store.records import (
    DuelChoice,
    Guidelines,
    Strength,
    ThumbChoice,
    Vote,
    VoteChoice,
    VotedAnswer,
    VoteFlag,
    VoteKind,
    VoteStatus,
)

Tag = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
Tags = Annotated[tuple[Tag, ...], Field(max_length=16)]
Comment = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
Tier = Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]


class Reasoned(In):
    tags: Tags = ()
    comment: Comment | None = None
    shown_ms: int | None = Field(default=None, ge=0)
    """How long the person looked before voting."""


class DuelVoteIn(Reasoned):
    kind: Literal["duel"]
    duel_id: str
    choice: DuelChoice
    strength: Strength = 1
    """2: much better."""


class ThumbIn(Reasoned):
    kind: Literal["thumb"]
    answer_id: str
    choice: ThumbChoice


class RankingIn(Reasoned):
    kind: Literal["ranking"]
    ranking: Annotated[tuple[Tier, ...], Field(min_length=1, max_length=8)]
    """Ids of answers to one message, the best first; those in one list tie."""


class EditIn(Reasoned):
    kind: Literal["edit"]
    answer_id: str
    text: Text
    """The ideal answer."""


VoteIn = Annotated[DuelVoteIn | ThumbIn | RankingIn | EditIn, Field(discriminator="kind")]


class VoteChangeIn(In):
    """What is left out stays; `comment` null removes it."""

    choice: DuelChoice | None = None
    strength: Strength | None = None
    tags: Tags | None = None
    comment: Comment | None = None


class ExclusionOut(Out):
    reason: str
    at: datetime


class VoteOut(Out):
    id: str
    kind: VoteKind
    conversation_id: str
    duel_id: str | None
    answer_id: str | None
    choice: VoteChoice
    strength: Strength
    answers: tuple[VotedAnswer, ...]
    tags: tuple[str, ...]
    comment: str | None
    blind: bool
    early: bool
    guideline_version: int | None
    flags: tuple[VoteFlag, ...]
    """Why the platform doubts it."""
    status: VoteStatus
    exclusion: ExclusionOut | None
    created_at: datetime
    changed_at: datetime | None
    changeable: bool
    """It can still be undone, and its choice changed."""


class Reveal(Out):
    version_a: int
    version_b: int


class CastOut(Out):
    vote: VoteOut
    pending: int
    """Votes that the next training will see for the first time."""
    min_votes: int
    reveal: Reveal | None


class MyVote(VoteOut):
    prompt: str | None
    """The beginning of the message that was answered; None when the conversation was deleted."""
    texts: tuple[str | None, ...]
    """The beginning of each answer, in the order of `answers`."""


class MyVotePage(Out):
    items: list[MyVote]
    next: str | None
    """Give it as `before` for the page after this one."""
    this_week: int
    """Votes of the last seven days, 1,000 at most."""


class TaintOut(Out):
    used: int
    """Votes in the data set of this version's run."""
    tainted_by: list[VoteOut]
    """Those of them that were undone or excluded since."""


class GuidelinesIn(In):
    text: Text
    after: int = Field(ge=0)
    """The newest version that the author has seen; 0: there was none."""


class GuidelinesRead(In):
    version: int = Field(ge=1)


class GuidelinesOut(Out):
    newest: Guidelines | None
    """None: nobody has written any."""
    read_version: int
    """The newest version that the caller has read; 0: none."""
    read: Guidelines | None
    """That version, where it is not the newest: what has changed since can be shown."""


def vote_out(vote: Vote, *, changeable: bool) -> VoteOut:
    fields = vote.model_dump(include=set(VoteOut.model_fields))
    return VoteOut.model_validate(fields | {"changeable": changeable})


def reveal(vote: Vote) -> Reveal | None:
    """The versions behind a duel's sides; no other vote reveals anything."""
    if vote.version_a is None or vote.version_b is None or vote.status == "undone":
        return None
    return Reveal(version_a=vote.version_a, version_b=vote.version_b)
