"""Policy versions, the gate that let them through, and what is live."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record

PolicyState = Literal["candidate", "canary", "active", "retired", "rejected", "rolled_back"]


class GateCheck(Record):
    """One gate: what was measured, against which threshold, and the reason in words.

    What was measured on `n` cases has a 95 % interval. Most of these checks refuse only when the whole
    interval lies on the wrong side of the threshold: the reason says so.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    reason: str
    n: int | None = None
    low: float | None = None
    high: float | None = None


class Fingerprint(Record):
    """Greedy token ids of a version for one fixed prompt: what a healthy engine must say too."""

    prompt: str
    token_ids: tuple[int, ...]


class GateReport(Record):
    passed: bool
    checks: tuple[GateCheck, ...]
    fingerprints: tuple[Fingerprint, ...] = ()


class PolicyVersion(Record):
    """A sealed, numbered, servable policy. Version 1 is the base model."""

    number: int = Field(ge=1)
    parent: int | None = None
    run_id: str | None = None
    reward_model: int | None = None
    folder: str
    """Folder name under the volume's `policies/`."""
    sha256: str
    """Digest of the sealed manifest's file list."""
    state: PolicyState = "candidate"
    reason: str | None = None
    report: GateReport | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    created_at: datetime


class Activation(Record):
    """One line of the serving timeline: what became active, when, by whom, why."""

    number: int
    previous: int | None
    actor: str
    reason: str
    at: datetime


class Canary(Record):
    """The version that is compared with the active one, blind, on a share of the answers."""

    number: int
    share: float = Field(ge=0.0, le=1.0)
    """Of duels and turns; a conversation is in or out of it as a whole."""
    started_at: datetime
    actor: str
    reason: str
    before: PolicyState = "candidate"
    """What the version was, and is again when the canary is stopped."""
    ramp: tuple[float, ...] = ()
    """Shares that it gets next; a person who changes the share ends the ramp."""
    next_at: int | None = None
    """Decisive votes at which it gets the next of these."""
