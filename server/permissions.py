"""Who may do what: five roles, what each may do, and the scope that an API key needs for it."""

from __future__ import annotations

from typing import Literal

from store.records import SCOPES, Role, Scope

Permission = Literal["own", "chat", "vote", "annotate", "watch", "review", "train", "release", "manage"]

# docs/people.md has this table for people; a test compares the two.
MAY: dict[Role, frozenset[Permission]] = {
    "user": frozenset({"own", "chat", "vote"}),
    "annotator": frozenset({"own", "chat", "vote", "annotate"}),
    "reviewer": frozenset({"own", "chat", "vote", "annotate", "watch", "review"}),
    "engineer": frozenset({"own", "chat", "vote", "annotate", "watch", "train"}),
    "admin": frozenset({"own", "chat", "vote", "annotate", "watch", "review", "train", "release", "manage"}),
}

_SCOPE: dict[Permission, Scope] = {
    "own": "admin",
    "chat": "chat",
    "vote": "feedback",
    "annotate": "feedback",
    "watch": "read",
    "review": "admin",
    "train": "admin",
    "release": "admin",
    "manage": "admin",
}


def scope_for(permission: Permission, method: str) -> Scope:
    """The scope that a key needs. Reading what only some may see takes `read`, changing it `admin`."""
    scope = _SCOPE[permission]
    return "read" if scope == "admin" and method in ("GET", "HEAD") else scope


def covers(scopes: tuple[Scope, ...], wanted: Scope) -> bool:
    """`admin` includes `read`."""
    return wanted in scopes or (wanted == "read" and "admin" in scopes)


def roles_that_may(permission: Permission) -> list[Role]:
    return [role for role in MAY if permission in MAY[role]]


__all__ = ["MAY", "SCOPES", "Permission", "covers", "roles_that_may", "scope_for"]
