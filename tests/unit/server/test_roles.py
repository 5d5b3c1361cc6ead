"""Who may do what: each operation's permission, enforced for each role and each API scope."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from server.app import create_app
from server.dependencies import needs_of
from server.permissions import MAY
from server.settings import ServerSettings
from store.records import SCOPES, Role
from tests.fakes import ScriptedPool
from tests.running import PASSWORD, filled, operations

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).resolve().parents[3] / "docs" / "people.md"
OWN = """
POST /api/v1/password
GET DELETE /api/v1/sessions
DELETE /api/v1/sessions/{session_id}
GET POST /api/v1/keys
DELETE /api/v1/keys/{key_id}
"""
WATCH = """
GET /api/v1/status
GET /api/v1/events
GET /api/v1/runs
GET /api/v1/runs/{run_id}
GET /api/v1/runs/{run_id}/metrics
GET /api/v1/runs/{run_id}/log
GET /api/v1/runs/{run_id}/samples
GET /api/v1/runs/{run_id}/alerts
GET /api/v1/plan
GET /api/v1/schedule
GET /api/v1/system
GET /api/v1/policies
GET /api/v1/policies/history
GET /api/v1/policies/{number}
GET /api/v1/policies/{number}/preflight
GET /api/v1/policies/{number}/samples
GET /api/v1/engines
GET /metrics
"""
TRAIN = """
POST /api/v1/plan
POST /api/v1/runs
POST /api/v1/runs/{run_id}/cancel
POST /api/v1/runs/{run_id}/retry
POST /api/v1/runs/{run_id}/alerts/{alert_id}/acknowledge
PUT DELETE /api/v1/schedule/pause
PATCH DELETE /api/v1/schedule/rules
"""
RELEASE = """
POST /api/v1/policies/rollback
POST /api/v1/policies/{number}/promote
PUT /api/v1/canary
POST /api/v1/canary/end
"""
MANAGE = """
GET POST /api/v1/accounts
PATCH /api/v1/accounts/{account_id}
POST /api/v1/accounts/{account_id}/password-link
GET POST /api/v1/invites
DELETE /api/v1/invites/{invite_id}
GET /api/v1/audit
GET /api/v1/audit.csv
GET /api/v1/audit/verify
"""
CHAT = """
GET POST /api/v1/conversations
POST /v1/chat/completions
GET /v1/models
"""


def lines(text: str) -> set[tuple[str, str]]:
    found = set()
    for line in text.strip().splitlines():
        *methods, path = line.split()
        found |= {(method, path) for method in methods}
    return found


def test_each_operation_asks_for_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    settings = ServerSettings(data=tmp_path, redis_url="unix:///nowhere", config=tmp_path / "config.toml")
    declared: dict[tuple[str, str], set[str]] = {}
    for route in create_app(settings, ScriptedPool(1)).routes:
        if isinstance(route, APIRoute) and not getattr(route.endpoint, "open_to_all", False):
            for method in route.methods:
                needs = [need.permission for need in needs_of(route.dependant)] or ["chat"]
                declared[(method, route.path)] = {str(need) for need in needs}
    wanted = {"own": OWN, "watch": WATCH, "train": TRAIN, "release": RELEASE, "manage": MANAGE, "chat": CHAT}
    for permission, text in wanted.items():
        for operation in lines(text):
            assert declared[operation] == {permission}, operation
    assert declared[("POST", "/api/v1/votes")] == {"vote"}


async def refused(person: Any, method: str, path: str) -> str:
    """The kind of a 403, else nothing. A stream that was let through would never end."""
    async with person.http.stream(method, filled(path), json={}) as response:
        if response.status_code != 403:
            return ""
        await response.aread()
        body = response.json()
        return str(body["error"]["code"] if "error" in body else body["type"].removeprefix("urn:heed:"))


@pytest.mark.parametrize("role", MAY)
async def test_a_role_is_let_through_exactly_where_it_may(heed: Any, role: Role) -> None:
    person = await heed.person("somebody", role)
    assert set((await person.get("/api/v1/me"))["may"]) == MAY[role]
    wanted = {"watch": WATCH, "train": TRAIN, "release": RELEASE, "manage": MANAGE, "chat": CHAT}
    for permission, text in wanted.items():
        for method, path in sorted(lines(text)):
            kind = await refused(person, method, path)
            assert kind == ("" if permission in MAY[role] else "not_your_role"), (role, method, path)


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_key_does_no_more_than_its_scope(heed: Any, admin: Any, scope: str) -> None:
    _, secret = await heed.parts.api_keys.create(admin.account_id, "narrow", (scope,))
    admin.http.headers["Authorization"] = f"Bearer {secret}"
    let_through = {
        "chat": lines(CHAT),
        "feedback": {("POST", "/api/v1/votes")},
        "read": {one for one in lines(WATCH) | lines(MANAGE) | lines(OWN) if one[0] == "GET"},
        "admin": lines(WATCH) | lines(TRAIN) | lines(RELEASE) | lines(MANAGE) | lines(OWN),
    }
    everything = set.union(*let_through.values())
    for method, path in sorted(everything):
        kind = await refused(admin, method, path)
        assert kind == ("" if (method, path) in let_through[scope] else "not_in_scope"), (scope, method, path)
    assert (await admin.get("/api/v1/me"))["role"] == "admin"  # any key may ask who it is


async def test_nobody_can_sign_up(heed: Any, ann: Any) -> None:
    """Accounts come from the set-up link, from an invite, or from an admin; a new route would show here."""
    makers = {operation for operation in await operations(ann.http) if operation[0] == "POST"}
    assert {path for _, path in makers if re.search(r"sign.?up|register|accounts$|accept$|setup$", path)} == {
        "/api/v1/accounts",
        "/api/v1/invites/accept",
        "/api/v1/setup",
    }
    body = {"name": "mallory", "password": PASSWORD, "role": "admin"}
    assert (await ann.call("POST", "/api/v1/accounts", body)).status_code == 403
    accepted = {"token": "guess", "name": "mallory", "password": PASSWORD}
    assert (await ann.call("POST", "/api/v1/invites/accept", accepted)).status_code == 410


def test_the_docs_table_is_the_code_table() -> None:
    table = PAGE.read_text().split("| permission")[1].split("\n\n")[0].splitlines()
    header, _, *rows = table
    roles = [cell.strip() for cell in header.strip("| ").split("|")][1:]
    assert set(roles) == set(MAY)
    told = {role: set[str]() for role in roles}
    for row in rows:
        permission, _, *cells = (cell.strip() for cell in row.strip("| ").split("|"))
        for role, cell in zip(roles, cells, strict=True):
            if cell == "yes":
                told[role].add(permission.strip("`"))
    assert told == {role: set(may) for role, may in MAY.items()}
