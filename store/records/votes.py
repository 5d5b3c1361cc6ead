"""Votes: a verdict of a person, and what changed it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record
from store.records.conversations import AskedHow, Check

DuelChoice = Literal["a", "b", "tie", "both_bad", "skip"]
ThumbChoice = Literal["up", "down"]
VoteKind = Literal["duel", "thumb", "ranking", "edit"]
VoteChoice = Literal["a", "b", "tie", "both_bad", "skip", "up", "down", "ranked", "edited"]
VoteStatus = Literal["active", "undone", "excluded"]
Strength = Literal[1, 2]
VoteFlag = Literal["duplicate", "too_quick", "same_key", "one_side", "trial"]
FLAGS: tuple[VoteFlag, ...] = ("duplicate", "too_quick", "same_key", "one_side", "trial")


class VotedAnswer(Record):
    """One answer that a vote is about, as the annotator saw it."""

    answer_id: str
    version: int
    position: int = Field(ge=1)
    """1 was shown first; in a duel 1 is side a."""
    rank: int | None = Field(default=None, ge=1)
    """In a ranking: 1 is best, equal ranks tie."""
    tokens: int | None = None
    leak: str | None = None
    """The words by which it names its model."""


class Exclusion(Record):
    """Why a vote is kept out of training and statistics; it can be put back."""

    by: str
    """An account id, or `heed` for what the platform keeps out by itself."""
    reason: str = Field(min_length=1, max_length=500)
    at: datetime


class Vote(Record):
    """An annotator's verdict, in its present state; the log keeps every earlier one.

    On a duel (a, b, tie, both_bad, skip), a thumb on one answer (up, down), a ranking of siblings (ranked),
    or an ideal answer written from one (edited). `answer_id` is what a thumb or an edit is about.
    """

    id: str
    kind: VoteKind
    conversation_id: str
    duel_id: str | None = None
    answer_id: str | None = None
    annotator_id: str
    choice: VoteChoice
    strength: Strength = 1
    """2: a or b is much better."""
    answers: tuple[VotedAnswer, ...] = ()
    """In the order shown; of an edit the original, then the edited one. Empty in votes of version 0.1."""
    version_a: int | None = None
    version_b: int | None = None
    tags: tuple[str, ...] = ()
    """Reasons, such as `incorrect`."""
    comment: str | None = Field(default=None, max_length=2000)
    shown_ms: int | None = Field(default=None, ge=0)
    blind: bool = True
    """The annotator could not know the versions."""
    early: bool = False
    """Cast while an answer was still being written; the loser was stopped."""
    guideline_version: int | None = None
    """The guidelines that held; None: there were none."""
    item_id: str | None = None
    """The item of the annotators' queue; all votes on it are about the same two texts."""
    check: Check | None = None
    """It measures the annotator and never trains."""
    texts: str | None = None
    """Digest of the message and answers that were judged: the same texts again have the same."""
    flags: tuple[VoteFlag, ...] = ()
    """Why the platform doubts it (`store/dataset/flags.py`)."""
    asked: AskedHow | None = None
    """How the platform chose its two answers. `uncertain` ones teach, and are in no statistics: they are no
    sample of anything."""
    status: VoteStatus = "active"
    exclusion: Exclusion | None = None
    """Set while the status is `excluded`."""
    idempotency_key: str
    created_at: datetime
    changed_at: datetime | None = None

    @property
    def leaked(self) -> bool:
        """An answer named its model: the vote is in no ranking of versions."""
        return any(answer.leak for answer in self.answers)

    @property
    def versions(self) -> tuple[int, ...]:
        """Of the answers, in the order shown."""
        of_duel = tuple(number for number in (self.version_a, self.version_b) if number is not None)
        return tuple(answer.version for answer in self.answers) or of_duel

    @property
    def makes_pair(self) -> bool:
        """Whether it teaches that one answer is better than another: what a training waits for."""
        if self.status != "active" or self.check is not None:
            return False
        if self.kind == "ranking":
            return len({answer.rank for answer in self.answers}) > 1
        return self.choice in ("a", "b", "edited")


class VoteChange(Record):
    """One line of a vote's history: what happened to it, by whom, and what it was after that."""

    what: Literal["cast", "amend", "undo", "exclude", "restore", "flag"]
    by: str
    at: datetime
    vote: Vote
