"""The annotators' queue: what is put before people, and what they said."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record
from store.records.conversations import AskedHow, ChatTurn, Check
from store.records.votes import DuelChoice


class ItemAnswer(Record):
    """One of the two answers of a queue's item; version 0 stands for a text that came with the prompt."""

    text: str = Field(min_length=1)
    version: int = 0
    ended: bool = True
    """False: it was cut at the length limit."""
    tokens: int | None = None
    leak: str | None = None


class AskedAs(Record):
    """How the platform chose two answers to ask about."""

    how: AskedHow
    probability: float = Field(gt=0, le=1)
    """That the draw took these two; 1 where they were taken for their uncertainty."""
    uncertainty: float = Field(ge=0, le=1)
    """Of the reward models; see `workers/choosing.py`."""
    run_id: str


class AskedAnswers(Record):
    """Answers of one version to a prompt, and what the reward models think of each."""

    prompt: tuple[ChatTurn, ...]
    answers: tuple[ItemAnswer, ...]
    scores: tuple[tuple[float, ...], ...]
    """By answer, one of each reward model."""


class QueueItem(Record):
    """A prompt of the annotators' queue. Its two answers are drawn for the first who gets it, then kept."""

    id: str
    prompt: tuple[ChatTurn, ...]
    answers: tuple[ItemAnswer, ...] = ()
    """None yet, or two."""
    gold: DuelChoice | None = None
    """The known verdict, in the order of `answers`: the item measures annotators and never trains."""
    overlap: int = Field(default=1, ge=1, le=50)
    """How many annotators judge it."""
    asked: AskedAs | None = None
    """The platform asks; None: a person does."""
    source: Literal["upload", "conversation", "asked"]
    by: str
    created_at: datetime


class QueueTask(Record):
    """One item as it was given to one annotator: a duel of their own, until it is voted on or runs out."""

    item_id: str
    annotator_id: str
    conversation_id: str
    duel_id: str
    swapped: bool
    """Side a is the item's second answer."""
    check: Check | None = None
    expires_at: datetime


class Verdict(Record):
    """What an annotator said about an item, in the order of its answers whatever sides they stood on."""

    item_id: str
    vote_id: str
    choice: DuelChoice
    swapped: bool
    check: Check | None = None
    gold: DuelChoice | None = None
    at: datetime


class Guidelines(Record):
    """What annotators are asked to prefer, in Markdown; each change is a new version, 1 the first."""

    version: int = Field(ge=1)
    text: str = Field(min_length=1, max_length=100_000)
    by: str
    at: datetime
