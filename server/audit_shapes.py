"""What the audit routes give."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from server.shapes import Out


class AuditOut(Out):
    id: str
    at: datetime
    actor: str
    actor_name: str | None
    """None for a part of Heed itself, such as the release."""
    action: str
    object: str
    object_name: str | None
    """The account's name when the act was done to one."""
    before: Any
    after: Any
    detail: dict[str, Any]
    reason: str | None
    request_id: str | None
    hash: str
    previous_hash: str


class AuditPage(Out):
    items: list[AuditOut]
    next: str | None
    """Pass it as `before` for older entries; none at the end."""


class AuditVerdict(Out):
    entries: int
    broken_at: str | None
    reason: str | None
    head: str
