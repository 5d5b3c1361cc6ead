"""People: accounts, sessions, invites, keys, and what they decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from store.records.base import Record

Role = Literal["admin", "engineer", "reviewer", "annotator", "user"]
Scope = Literal["chat", "feedback", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("chat", "feedback", "read", "admin")


class Account(Record):
    id: str
    name: str
    role: Role
    password_hash: str
    created_at: datetime
    disabled_at: datetime | None = None
    """Since when it can neither sign in nor use a key; what it said and voted stays."""
    admitted_at: datetime | None = None
    """Since when its votes count at once, where new accounts are on trial (`[votes] trial_votes`)."""


class Session(Record):
    """One signed-in browser. Its token is the browser's alone; `id` is the beginning of the token's hash."""

    id: str
    account_id: str
    created_at: datetime
    confirmed_at: datetime
    """When the password was typed last: what moves versions asks for a fresh one."""
    seen_at: datetime
    """Within five minutes."""
    until: datetime
    address: str = ""
    agent: str = ""


class Invite(Record):
    """A one-time link: to a new account with this role, or (`account_id`) to a new password for one."""

    id: str
    role: Role
    account_id: str | None = None
    note: str = ""
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_by: str | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None


class ApiKey(Record):
    """What a program signs in with. Only the secret's hash is stored."""

    id: str
    account_id: str
    label: str
    created_at: datetime
    scopes: tuple[Scope, ...] = SCOPES
    """A key from before there were scopes may do what its account may."""
    ends: str = ""
    """Last four characters of the secret, to tell keys apart."""


class AuditEvent(Record):
    """Who did what to what; `store/audit.py` chains them by hashes."""

    actor: str
    action: str
    object: str
    before: Any = None
    after: Any = None
    reason: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None
    at: datetime
