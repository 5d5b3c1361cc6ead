"""People: invites, roles, sessions, passwords, keys, and a fresh sign-in for what cannot be undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from store import sessions
from store.records import now
from tests.running import PASSWORD

pytestmark = pytest.mark.anyio


@pytest.fixture
async def browser(heed: Any, admin: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The admin in a browser, signed in by password."""
    async with httpx.AsyncClient(base_url=heed.url, timeout=10) as client:
        signed_in = await client.post("/api/v1/login", json={"name": "admin", "password": PASSWORD})
        assert signed_in.status_code == 200
        yield client


@pytest.fixture
async def guest(heed: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=heed.url, timeout=10) as client:
        yield client


async def acts(heed: Any) -> list[str]:
    return [event.action for event in await heed.parts.audit.newest()]


async def test_an_invite_brings_somebody_in_once(heed: Any, browser: Any, guest: Any) -> None:
    made = await browser.post("/api/v1/invites", json={"role": "reviewer", "note": "for Bob"})
    assert made.status_code == 201
    token = made.json()["token"]
    listed = await browser.get("/api/v1/invites")
    assert token not in listed.text
    assert [one["state"] for one in listed.json()["items"]] == ["open"]
    seen = (await guest.post("/api/v1/invites/look", json={"token": token})).json()
    assert (seen["role"], seen["name"]) == ("reviewer", None)
    nameless = await guest.post("/api/v1/invites/accept", json={"token": token, "password": PASSWORD})
    assert (nameless.status_code, nameless.json()["field"]) == (422, "name")
    body = {"token": token, "name": "Bob", "password": PASSWORD}
    assert (await guest.post("/api/v1/invites/accept", json=body)).json()["role"] == "reviewer"
    assert (await guest.get("/api/v1/me")).json()["name"] == "Bob"
    assert (await guest.post("/api/v1/invites/accept", json={**body, "name": "Eve"})).status_code == 410
    assert (await browser.get("/api/v1/invites")).json()["items"][0]["state"] == "used"
    assert await acts(heed) == ["invite_used", "invited"]


async def test_a_revoked_invite_opens_nothing(browser: Any, guest: Any) -> None:
    made = (await browser.post("/api/v1/invites", json={"role": "admin"})).json()
    assert (await browser.delete(f"/api/v1/invites/{made['id']}")).status_code == 204
    assert (await guest.post("/api/v1/invites/look", json={"token": made["token"]})).status_code == 410
    assert (await browser.delete("/api/v1/invites/inv_nothing")).status_code == 404


async def test_a_disabled_account_is_out_everywhere_at_once(
    heed: Any, ann: Any, browser: Any, guest: Any
) -> None:
    me = {"name": "ann", "password": PASSWORD}
    assert (await guest.post("/api/v1/login", json=me)).status_code == 200
    path = f"/api/v1/accounts/{ann.account_id}"
    changed = await browser.patch(path, json={"disabled": True})
    assert changed.json()["disabled_at"] is not None
    assert changed.json()["sessions"] == 0
    assert (await guest.get("/api/v1/me")).status_code == 401
    assert (await ann.call("GET", "/api/v1/me")).status_code == 401
    refused = await guest.post("/api/v1/login", json=me)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:heed:account_disabled")
    await browser.patch(path, json={"disabled": False})
    assert (await ann.call("GET", "/api/v1/me")).status_code == 200
    assert await acts(heed) == ["account_enabled", "account_disabled"]


async def test_a_new_role_counts_from_the_next_request_on(heed: Any, ann: Any, browser: Any) -> None:
    assert (await ann.call("GET", "/api/v1/status")).status_code == 403
    await browser.patch(f"/api/v1/accounts/{ann.account_id}", json={"role": "engineer"})
    assert (await ann.call("GET", "/api/v1/status")).status_code == 200
    (event,) = await heed.parts.audit.newest()
    assert (event.before, event.after) == ({"role": "annotator"}, {"role": "engineer"})
    assert event.request_id.startswith("req_")


async def test_the_last_admin_stays(heed: Any, admin: Any, browser: Any) -> None:
    for body in ({"role": "user"}, {"disabled": True}):
        refused = await browser.patch(f"/api/v1/accounts/{admin.account_id}", json=body)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:heed:last_admin")
    assert (await browser.patch("/api/v1/accounts/acc_nobody", json={})).status_code == 404


async def test_moving_versions_asks_for_the_password_after_ten_minutes(
    heed: Any, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollback = {"reason": "worse"}
    # 409: let through, but there is nothing to roll back to.
    assert (await browser.post("/api/v1/policies/rollback", json=rollback)).status_code == 409
    later = now() + timedelta(minutes=11)
    monkeypatch.setattr(sessions, "now", lambda: later)
    stale = await browser.post("/api/v1/policies/rollback", json=rollback)
    assert (stale.status_code, stale.json()["type"]) == (403, "urn:heed:confirm_password")
    admin_key = await browser.post("/api/v1/keys", json={"label": "ci", "scopes": ["admin"]})
    assert admin_key.json()["type"] == "urn:heed:confirm_password"
    wrong = await browser.post("/api/v1/login/confirm", json={"password": "not this one"})
    assert wrong.status_code == 401
    assert (await browser.post("/api/v1/login/confirm", json={"password": PASSWORD})).status_code == 204
    assert (await browser.post("/api/v1/policies/rollback", json=rollback)).status_code == 409
    assert (await browser.get("/api/v1/status")).status_code == 200


async def test_guessing_at_the_confirmation_is_slowed(browser: Any) -> None:
    codes = []
    for _ in range(6):
        response = await browser.post("/api/v1/login/confirm", json={"password": "wrong"})
        codes.append(response.status_code)
    assert codes.count(429) >= 1
    assert codes[-1] == 429


async def test_a_new_password_signs_the_other_browsers_out(heed: Any, browser: Any, guest: Any) -> None:
    await guest.post("/api/v1/login", json={"name": "admin", "password": PASSWORD})
    listed = (await browser.get("/api/v1/sessions")).json()["items"]
    assert [one["current"] for one in listed] == [False, True]
    short = await browser.post("/api/v1/password", json={"current": PASSWORD, "password": "short"})
    assert (short.status_code, short.json()["field"]) == (422, "password")
    body = {"current": PASSWORD, "password": "another long password"}
    assert (await browser.post("/api/v1/password", json=body)).status_code == 204
    assert (await guest.get("/api/v1/me")).status_code == 401
    assert (await browser.get("/api/v1/me")).status_code == 200
    assert len((await browser.get("/api/v1/sessions")).json()["items"]) == 1


async def test_a_browser_can_be_signed_out_from_another_one(browser: Any, guest: Any) -> None:
    await guest.post("/api/v1/login", json={"name": "admin", "password": PASSWORD})
    other = (await browser.get("/api/v1/sessions")).json()["items"][0]
    assert (await browser.delete(f"/api/v1/sessions/{other['id']}")).status_code == 204
    assert (await guest.get("/api/v1/me")).status_code == 401
    assert (await browser.delete(f"/api/v1/sessions/{other['id']}")).status_code == 404
    assert (await browser.delete("/api/v1/sessions")).json() == {"revoked": 0}


async def test_a_lost_password_comes_back_by_a_link(heed: Any, ann: Any, browser: Any, guest: Any) -> None:
    made = (await browser.post(f"/api/v1/accounts/{ann.account_id}/password-link")).json()
    seen = (await guest.post("/api/v1/invites/look", json={"token": made["token"]})).json()
    assert seen["name"] == "ann"
    body = {"token": made["token"], "password": "another long password"}
    assert (await guest.post("/api/v1/invites/accept", json=body)).json()["name"] == "ann"
    assert (await guest.post("/api/v1/login", json={"name": "ann", "password": PASSWORD})).status_code == 401


async def test_a_key_is_shown_once_and_stops_when_revoked(heed: Any, ann: Any, browser: Any) -> None:
    made = await browser.post("/api/v1/keys", json={"label": "laptop"})
    secret = made.json()["secret"]
    assert made.json()["scopes"] == ["chat", "feedback"]
    mine = await browser.get("/api/v1/keys")
    assert secret not in mine.text
    assert {one["label"] for one in mine.json()["items"]} == {"laptop", "test"}
    everybody = (await browser.get("/api/v1/keys?everybody=true")).json()["items"]
    assert {one["account_id"] for one in everybody} > {ann.account_id}
    assert (await ann.call("GET", "/api/v1/keys?everybody=true")).status_code == 403
    bearer = {"Authorization": f"Bearer {secret}"}
    assert (await browser.get("/api/v1/status", headers=bearer)).status_code == 403
    assert (await browser.get("/v1/models", headers=bearer)).status_code == 200
    assert (await ann.call("DELETE", f"/api/v1/keys/{made.json()['id']}")).status_code == 404
    assert (await browser.delete(f"/api/v1/keys/{made.json()['id']}")).status_code == 204
    assert (await browser.get("/v1/models", headers=bearer)).status_code == 401
    assert secret not in str([event.model_dump() for event in await heed.parts.audit.newest()])


async def test_the_list_of_people_says_what_they_hold(heed: Any, ann: Any, browser: Any) -> None:
    turn = await ann.duel()
    await ann.vote(turn["duel"]["id"])
    people = (await browser.get("/api/v1/accounts")).json()["items"]
    assert [(one["name"], one["role"], one["sessions"], one["keys"], one["votes"]) for one in people] == [
        ("admin", "admin", 1, 1, 0),
        ("ann", "annotator", 0, 1, 1),
    ]
    assert "password" not in str(people)


async def test_accounts_are_made_by_admins(heed: Any, admin: Any) -> None:
    body = {"name": "new", "password": "a long enough one", "role": "annotator"}
    made = await admin.call("POST", "/api/v1/accounts", body)
    assert (made.status_code, made.json()["role"]) == (201, "annotator")
    again = await admin.call("POST", "/api/v1/accounts", body)
    assert (again.status_code, again.json()["field"]) == (409, "name")
    assert "password" not in made.text
