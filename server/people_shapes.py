"""What the routes about people, invites, sessions and API keys take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from server.shapes import In, Name, Out
from store.invites import is_open
from store.records import Account, ApiKey, Invite, Role, Scope, Session

Password = Annotated[str, StringConstraints(max_length=1000)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
InviteState = Literal["open", "used", "revoked", "expired"]


class ConfirmIn(In):
    password: Password


class PasswordIn(In):
    current: Password
    password: Password


class SessionOut(Out):
    id: str
    created_at: datetime
    seen_at: datetime
    """To five minutes."""
    address: str
    agent: str
    current: bool
    """The one that asks."""


class SessionPage(Out):
    items: list[SessionOut]


class PersonOut(Out):
    id: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    on_trial: bool
    """Its votes wait until it got known verdicts right, or is admitted."""
    sessions: int
    keys: int
    votes: int


class PersonPage(Out):
    items: list[PersonOut]


class PersonChange(In):
    role: Role | None = None
    disabled: bool | None = None
    admitted: bool | None = None
    """True ends the account's trial, false begins one (`[votes] trial_votes`)."""


class InviteIn(In):
    role: Role = "annotator"
    hours: float = Field(default=72, gt=0, le=24 * 30)
    note: Note = ""


class InviteOut(Out):
    id: str
    role: Role
    account_id: str | None
    """Set when the link is about a new password for this account."""
    note: str
    state: InviteState
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_by: str | None


class InvitePage(Out):
    items: list[InviteOut]


class InviteMade(InviteOut):
    token: str
    """Shown this once: the link is `/invite#token=...`."""


class TokenIn(In):
    token: str = Field(max_length=200)


class InviteSeen(Out):
    role: Role
    name: str | None
    """The account's name when the link is about its password."""
    expires_at: datetime


class AcceptIn(TokenIn):
    name: Name | None = None
    password: Password


class KeyIn(In):
    label: Name
    scopes: list[Scope] = Field(default=["chat", "feedback"], min_length=1, max_length=4)


class KeyOut(Out):
    id: str
    account_id: str
    label: str
    scopes: list[Scope]
    ends: str
    created_at: datetime
    used_at: datetime | None
    """To the minute; none while it was never used."""


class KeyMade(KeyOut):
    secret: str
    """Shown this once."""


class KeyPage(Out):
    items: list[KeyOut]


def session_out(session: Session, current: Session | None) -> SessionOut:
    fields = session.model_dump(include=set(SessionOut.model_fields))
    return SessionOut(**fields, current=current is not None and current.id == session.id)


def person_out(account: Account, *, on_trial: bool, sessions: int, keys: int, votes: int) -> PersonOut:
    fields = account.model_dump(include=set(PersonOut.model_fields))
    return PersonOut(**fields, on_trial=on_trial, sessions=sessions, keys=keys, votes=votes)


def invite_out(invite: Invite) -> InviteOut:
    return InviteOut(**invite.model_dump(include=set(InviteOut.model_fields)), state=state_of(invite))


def state_of(invite: Invite) -> InviteState:
    if invite.used_at is not None:
        return "used"
    if invite.revoked_at is not None:
        return "revoked"
    return "open" if is_open(invite) else "expired"


def key_out(key: ApiKey, used_at: datetime | None) -> KeyOut:
    return KeyOut(**key.model_dump(include=set(KeyOut.model_fields)), used_at=used_at)
