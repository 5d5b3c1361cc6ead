"""What the Versions page is given, and what promoting takes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from server.shapes import In, Out, Reason
from store.ramp import rising
from store.records import Canary, PolicyVersion, Snapshot


class Change(Out):
    """One value that differs between a version and its parent."""

    name: str
    before: Any
    after: Any


class FileOut(Out):
    name: str
    bytes: int
    sha256: str


class CanaryStep(Out):
    """A share that a canary got."""

    share: float
    at: datetime
    actor: str
    reason: str


class CanarySpan(Out):
    """A time in which a version was compared with the active one."""

    number: int
    share: float
    """The last that it had."""
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    steps: list[CanaryStep]
    """Oldest first; the first is how it began."""
    ended_by: str | None = None
    reason: str | None = None
    """Why it ended."""


class VersionOut(Out):
    version: PolicyVersion
    run_id: str | None
    requested_by: str | None
    snapshot: Snapshot | None
    """The frozen data that it was trained on; none for the base model."""
    skipped: dict[str, int]
    """Votes that taught nothing, by reason."""
    settings: list[Change]
    """Settings that differ from the parent's training, or from the defaults when the parent had none."""
    metrics: list[Change]
    votes_added: int | None
    """Votes that are in its data and were not in its parent's."""
    votes_removed: int | None
    """Votes that were in its parent's data and are not in its own: excluded, undone, or too old."""
    tainted: int
    """Votes in its data that were undone or excluded since."""
    files: list[FileOut]
    bytes: int
    card: str | None
    """The model card, markdown."""
    files_error: str | None
    """Why the files could not be read."""


class SaidOut(Out):
    """What a version said to one of the gate's fixed prompts, word for word the likeliest."""

    prompt: str
    answer: str


class SaidPage(Out):
    items: list[SaidOut]
    """Empty where no gate has asked the version."""


class PreflightOut(Out):
    """Whether a version could serve now."""

    number: int
    state: str
    ok: bool
    error: str | None
    bytes: int
    checked_s: float
    """Time that reading and hashing every file took here: a load takes longer."""
    warm_on: list[str]
    """Engines that hold it already: for them going live is a pointer move."""
    ready_engines: int
    in_flight: int
    """Answers under way, which finish on the version that they began with."""
    leaves: int | None
    """The version that is active now."""
    canary: Canary | None
    """It would end."""


class HistoryOut(Out):
    canaries: list[CanarySpan]


class PromoteIn(In):
    share: float = Field(gt=0, le=1)
    """1 makes it the active version; less starts a canary with this share of the answers."""
    ramp: Annotated[tuple[float, ...], AfterValidator(rising), Field(max_length=20)] = ()
    """Shares that the canary gets by itself after this one, each after `[release] canary_ramp_votes` decisive
    votes, as long as no guard speaks. Empty: people change the share."""
    reason: Reason

    @model_validator(mode="after")
    def _ramp_goes_on_from_the_share(self) -> Self:
        if self.ramp and self.ramp[0] <= self.share:
            raise ValueError("ramp: its first share is to be larger than `share`")
        return self


class ShareIn(In):
    share: float = Field(gt=0, lt=1)
    reason: Reason


class EndIn(In):
    outcome: Literal["promoted", "rolled_back", "stopped"]
    reason: Reason


class PromotedOut(Out):
    active: int | None
    canary: Canary | None
