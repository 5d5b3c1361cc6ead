"""Data sets: what a training learns from, and what a reward model is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record
from store.records.conversations import ChatTurn


class PreferencePair(Record):
    """One prompt, two answers, one preferred (TRL's conversational preference form plus lineage).

    A thumb (source `thumb`) is about one answer only: thumb up has no `rejected`, thumb down no `chosen`.
    """

    prompt: tuple[ChatTurn, ...]
    chosen: tuple[ChatTurn, ...]
    rejected: tuple[ChatTurn, ...]
    preference: float = Field(default=1.0, ge=0.5, le=1.0)
    """Probability that `chosen` is the better one; 0.5 is a tie."""
    margin: float = Field(default=0.0, ge=0.0)
    """How far the score of `chosen` has to be ahead, on top of the trainer's own margin."""
    weight: float = Field(default=1.0, gt=0.0)
    source: Literal["vote", "seed", "import", "thumb"] = "vote"
    tags: tuple[str, ...] = ()
    """Domains that the report tells apart, such as `helpful`, `harmless` or a language."""
    vote_id: str | None = None
    conversation_id: str | None = None
    ranking_id: str | None = None
    """Pairs of one ranking are learned from in one batch, each answer once."""
    new: bool = True
    """Not in any run that has ended yet."""
    chosen_ended: bool = True
    """False: the answer was cut at the length limit, so no end token follows it."""
    rejected_ended: bool = True


class AnnotatorVotes(Record):
    """Which votes of a data set are whose: what an annotator's votes are compared with are the others'."""

    annotator_id: str
    vote_ids: tuple[str, ...]
    """Of their votes those that prefer one of a duel's two answers."""


class AnswerText(Record):
    """An answer's words, and whether it ended by itself: only then does an end token follow."""

    text: str
    ended: bool = True


class ScoreCase(Record):
    """One prompt and its answers, as `trainer score` reads them."""

    id: str
    prompt: tuple[ChatTurn, ...] = Field(min_length=1)
    answers: tuple[AnswerText, ...] = Field(min_length=1)


class CaseScores(Record):
    """What the reward model says of a case, in the order of its answers."""

    id: str
    scores: tuple[float, ...] | None
    """None: prompt and answer do not fit into the model's limit, or an answer is empty."""


class Demonstration(Record):
    """An ideal answer that a person wrote, in the form that `sft.texts` and `ptx.texts` take."""

    prompt: tuple[ChatTurn, ...]
    chosen: tuple[ChatTurn, ...]
    vote_id: str
    conversation_id: str


class Snapshot(Record):
    """A frozen data set in a run's folder. `sha256` covers train, held-out and prompts files."""

    run_id: str
    votes: int
    new_votes: int
    train_pairs: int
    held_out_pairs: int
    prompts: int
    through: str
    """Stream id of the last vote that was looked at."""
    sha256: str
    created_at: datetime
