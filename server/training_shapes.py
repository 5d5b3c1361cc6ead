"""What the routes about a training's log, samples, alerts, plan and schedule take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import StringConstraints

from server.shapes import In, Out, Reason
from store.outlook import Outlook
from store.records import Pause, Stage
from store.run_options import RunOptions
from store.start_rules import StartRules


class LogOut(Out):
    stage: Stage
    text: str
    """The end of the newest attempt's log, without the shown answers."""
    cut: bool
    """There is more before it."""


class SampleOut(Out):
    """An answer that the policy gave during the training."""

    update: int
    prompt: str
    answer: str
    tokens: int
    ended: bool
    score: float


class FixedAnswer(Out):
    prompt: str
    answer: str
    tokens: int
    ended: bool


class FixedOut(Out):
    """Greedy answers to the same few prompts, after so many updates; 0 is before the training."""

    update: int
    answers: list[FixedAnswer]


class SamplePage(Out):
    items: list[SampleOut]
    fixed: list[FixedOut]


class AlertOut(Out):
    id: str
    stage: Stage
    step: int
    text: str
    stopped: bool
    """It ended the training, or took it back to earlier weights."""
    acknowledged_by: str | None
    acknowledged_at: datetime | None


class AlertPage(Out):
    items: list[AlertOut]


class StageEstimate(Out):
    stage: Stage
    seconds: float


class PlanOut(Out):
    """What a training would do if it began now; nothing is started."""

    parent: int | None
    new_votes: dict[str, int]
    """Since the last training that ended with a version, by what was said."""
    new_pairs: int
    total_votes: int
    total_pairs: int
    """Votes for a or b of all time; a snapshot takes the newest `max_pairs`."""
    max_pairs: int
    held_out_share: float
    rollout_prompts: int
    gate_prompts: int
    settings: dict[str, dict[str, Any]]
    """The training's sections of the configuration file."""
    estimate: list[StageEstimate]
    """Medians of earlier trainings that went through; empty before the first."""
    blocked: str | None
    """Why it could not begin now."""


class AnnotatorShare(Out):
    """What one annotator brings to a training."""

    name: str
    votes: int
    """For a or b, that may train."""
    share: float
    """Of all such votes."""
    over_cap: int
    """Those of them that the cap leaves out."""
    weight: float
    """Of each of the others; 0 leaves all of them out."""
    unknown: bool
    """Nothing is known of them: before the training weighs their votes it compares them with the others'."""


class WhoseVotesOut(Out):
    """What annotators bring to a data set."""

    cap: int | None
    """Votes that one annotator may have; none in early trainings."""
    annotators: list[AnnotatorShare]
    """Most votes first."""
    more_annotators: int


class DataPlanOut(WhoseVotesOut):
    """What a training would learn from, were the log cut now; nothing is frozen."""

    votes: int
    """Votes that make a pair."""
    train_pairs: int
    """Pairs, ties and thumbs."""
    held_out_pairs: int
    imported: int
    too_few: str | None
    """Why it would fail at once."""
    left_out: dict[str, int]
    """Why votes teach nothing -> how many."""


class RequestOut(Out):
    """A training that somebody waits for."""

    id: str
    name: str
    """Who asked."""
    reason: str
    at: datetime


class TrainIn(RunOptions):
    """A training that somebody asks for: why, and what it should have otherwise."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class RulesIn(StartRules):
    """Start rules that should be otherwise; one that is not named stays as it is."""


class RuleChangeOut(Out):
    by: str
    """The name of whoever set it."""
    at: datetime


class ScheduleOut(Out):
    rules: StartRules
    """That hold now."""
    file: StartRules
    """As the configuration file has them."""
    changed: dict[str, RuleChangeOut]
    """The rules that differ from the file, and who changed them."""
    pending: int
    oldest_waiting_at: datetime | None
    due_at: datetime | None
    """When `every_hours` has run out for the oldest vote that waits."""
    paused: Pause | None
    outlook: Outlook | None
    """What starts next by itself, as the last tick saw it; none before the first, and while none has seen
    the newest change of the rules."""
    requests: list[RequestOut]
    """Trainings that wait until the open one has ended, in their order."""


class PauseIn(In):
    reason: Reason
