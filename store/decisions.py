"""Decisions about versions as the audit log has them: JSON that the registry's scripts write with the act."""

from __future__ import annotations

from typing import Literal

from store.records import Activation, AuditEvent, Canary, PolicyState, now

CanaryOutcome = Literal["promoted", "rolled_back", "stopped", "rejected"]


def decided(actor: str, action: str, number: int, **detail: object) -> str:
    """Somebody or something decided about this version."""
    event = AuditEvent(actor=actor, action=action, object=f"v{number}", detail=detail, at=now())
    return event.model_dump_json()


def moved(activation: Activation, left_as: PolicyState, request_id: str | None) -> str:
    """The pointer moved: a `promote`, or a `rollback` when the version that left is not `retired`."""
    return AuditEvent(
        actor=activation.actor,
        action="promote" if left_as == "retired" else "rollback",
        object=f"v{activation.number}",
        before=None if activation.previous is None else f"v{activation.previous}",
        after=f"v{activation.number}",
        reason=activation.reason,
        request_id=request_id,
        at=activation.at,
    ).model_dump_json()


def canary_ended(canary: Canary, outcome: CanaryOutcome, actor: str, reason: str) -> str:
    return decided(actor, "canary_end", canary.number, outcome=outcome, reason=reason)
