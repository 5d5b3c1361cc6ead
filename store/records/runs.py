"""Runs: from due votes to a version."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from store.records.base import Record
from store.records.datasets import Snapshot

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Stage = Literal["freeze", "reward", "ppo", "gate", "release"]
StageState = Literal["waiting", "running", "done", "failed", "skipped"]
STAGES: tuple[Stage, ...] = ("freeze", "reward", "ppo", "gate", "release")


class StageStatus(Record):
    stage: Stage
    state: StageState = "waiting"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    summary: dict[str, Any] = Field(default_factory=dict)


class Run(Record):
    """One retrain. This record, not Celery, says what is true about it."""

    id: str
    state: RunState
    requested_by: str
    """`votes`, `schedule`, `calendar`, `drift` or an account id."""
    reason: str | None = None
    """What the person who asked for it said."""
    stages: tuple[StageStatus, ...] = tuple(StageStatus(stage=stage) for stage in STAGES)
    attempt: int = 0
    token: int = 0
    owner: str | None = None
    cancel_requested: bool = False
    config: dict[str, Any] = Field(default_factory=dict)
    snapshot: Snapshot | None = None
    version: int | None = None
    error: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class MetricRow(Record):
    """One step of a training stage, as the dashboard draws it."""

    run_id: str
    stage: Stage
    step: int
    of: int | None = None
    values: dict[str, float]
    at: datetime


class Pause(Record):
    """Somebody stopped the schedule: no training starts by itself until it is resumed."""

    actor: str
    reason: str
    at: datetime
