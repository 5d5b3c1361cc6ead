"""What the routes about a training's log, samples, alerts, plan and schedule take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from server.shapes import In, Out, Reason
from store.records import Pause, Stage


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


class ScheduleOut(Out):
    min_votes: int
    pending: int
    every_hours: float | None
    oldest_waiting_at: datetime | None
    due_at: datetime | None
    """When `every_hours` has run out for the oldest vote that waits."""
    paused: Pause | None


class PauseIn(In):
    reason: Reason
