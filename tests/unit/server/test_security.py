"""Who may do what, and what the server does with requests that mean no good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.running import PASSWORD, filled, operations

pytestmark = pytest.mark.anyio

OPEN = {
    ("GET", "/api/v1/setup"),
    ("POST", "/api/v1/setup"),
    ("POST", "/api/v1/login"),
    ("POST", "/api/v1/invites/look"),
    ("POST", "/api/v1/invites/accept"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
}


@pytest.fixture
async def anonymous(heed: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=heed.url, timeout=10) as client:
        yield client


async def test_every_operation_refuses_an_anonymous_caller(heed: Any, anonymous: httpx.AsyncClient) -> None:
    found = await operations(anonymous)
    assert len(found) > 40
    assert found >= OPEN
    for method, path in sorted(found - OPEN):
        response = await anonymous.request(method, filled(path), json={})
        assert response.status_code == 401, (method, path, response.text)
        assert response.headers["www-authenticate"] == "Bearer"


async def test_a_page_of_another_site_cannot_use_the_cookie(heed: Any, ann: Any, anonymous: Any) -> None:
    me = {"name": "ann", "password": PASSWORD}
    own = urlsplit(heed.url).netloc
    signed_in = await anonymous.post("/api/v1/login", json=me)
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    anonymous.cookies.set("heed_session", signed_in.cookies["heed_session"])
    allowed: list[dict[str, str]] = [
        {},
        {"Origin": f"http://{own}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{own}"},
    ]
    for headers in allowed:
        response = await anonymous.post("/api/v1/conversations", json={}, headers=headers)
        assert response.status_code == 201, headers
    foreign = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://{own}"},
    ]
    for headers in foreign:
        for path, body in (("/api/v1/conversations", {}), ("/api/v1/login", me)):
            response = await anonymous.post(path, json=body, headers=headers)
            assert response.status_code == 403, (path, headers)
    assert (await anonymous.get("/api/v1/me")).json()["name"] == "ann"
    assert (await anonymous.post("/api/v1/logout")).status_code == 204
    assert (await anonymous.get("/api/v1/me")).status_code == 401


async def test_a_form_of_another_site_is_no_json(ann: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = await ann.http.post("/api/v1/conversations", content=b"{}", headers={"Content-Type": kind})
        assert response.status_code == 422


async def test_the_first_admin_is_made_once_by_the_token(heed: Any, anonymous: Any) -> None:
    token = (heed.parts.settings.data / "secrets" / "setup_token").read_text()
    assert (await anonymous.get("/api/v1/setup")).json() == {"needed": True}
    person = {"token": "wrong", "name": "root", "password": PASSWORD}
    assert (await anonymous.post("/api/v1/setup", json=person)).status_code == 401
    person["token"] = token
    short = await anonymous.post("/api/v1/setup", json={**person, "password": "short"})
    assert (short.status_code, short.json()["field"]) == (422, "password")
    made = await anonymous.post("/api/v1/setup", json=person)
    assert (made.status_code, made.json()["role"]) == (201, "admin")
    assert (await anonymous.post("/api/v1/setup", json=person)).status_code == 401
    assert (await anonymous.get("/api/v1/setup")).json() == {"needed": False}


async def test_guessing_a_password_is_slowed(ann: Any, anonymous: Any) -> None:
    codes = []
    for _ in range(6):
        response = await anonymous.post("/api/v1/login", json={"name": "ann", "password": "wrong"})
        codes.append(response.status_code)
    assert codes == [401] * 5 + [429]
    assert 1 <= int(response.headers["retry-after"]) <= 60


async def test_names_that_are_not_this_server_are_refused(heed: Any, anonymous: Any) -> None:
    port = urlsplit(heed.url).port
    for host in (f"localhost:{port}", "127.0.0.1", "[::1]:80", "192.168.1.7"):
        assert (await anonymous.get("/healthz", headers={"Host": host})).status_code == 200, host
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
        response = await anonymous.get("/healthz", headers={"Host": host})
        assert response.status_code in (400, 421), host
    assert "HEED_ALLOWED_HOSTS" in response.text or response.status_code == 400


async def test_every_response_has_the_security_headers(ann: Any, anonymous: Any) -> None:
    for response in (
        await ann.call("GET", "/api/v1/me"),
        await ann.call("GET", "/api/v1/nothing"),
        await anonymous.get("/"),
        await anonymous.get("/api/v1/me"),
        await anonymous.post("/api/v1/login", content=b"x" * 300_000),
    ):
        csp = response.headers["content-security-policy"]
        assert "default-src 'none'" in csp
        assert "unsafe" not in csp
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] in ("no-store", "no-cache")


async def problem(response: httpx.Response, *codes: int) -> dict[str, Any]:
    assert response.status_code in codes, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "field", "remedy"}
    assert body["status"] == response.status_code
    assert "Traceback" not in response.text
    return body


async def test_a_huge_body_is_413_with_and_without_its_length(ann: Any) -> None:
    conversation = await ann.conversation()
    path = f"/api/v1/conversations/{conversation}/messages"

    async def chunks() -> Any:
        for _ in range(30):
            yield b" " * 10_000

    headers = {"Content-Type": "application/json"}
    for content in (b" " * 300_000, chunks()):
        response = await ann.http.post(path, content=content, headers=headers)
        body = await problem(response, 413)
        assert str(256 * 1024) in body["detail"]
    shaped = await ann.http.post("/v1/chat/completions", content=b" " * 300_000, headers=headers)
    assert (shaped.status_code, set(shaped.json())) == (413, {"error"})


async def test_malformed_bodies_are_refused_in_one_shape(ann: Any) -> None:
    conversation = await ann.conversation()
    path = f"/api/v1/conversations/{conversation}/messages"
    bodies = [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"text": 1}',
        b'{"text": ""}',
        b'{"text": " \\n\\t"}',
        b'{"text": "\xff\xfe"}',
        b'{"text": "\\ud800"}',
        b'{"text": "x", "\\ud800": 1}',
        b'{"text": "x", "sampling": {"temperature": NaN}}',
        b'{"text": "x", "sampling": {"temperature": Infinity}}',
        b'{"text": "x", "mode": "both"}',
        b'{"text": "x", "parent_id": {"a": 1}}',
        b"[" * 100_000,
        b'{"text": "' + b"a" * 150_000 + b'"}',
    ]
    for content in bodies:
        response = await ann.http.post(path, content=content, headers={"Content-Type": "application/json"})
        await problem(response, 400, 422)
    field = await ann.call("POST", path, {"text": "x", "nonsense": 1})
    assert (await problem(field, 422))["field"] == "nonsense"
    assert (await ann.get(f"/api/v1/conversations/{conversation}"))["messages"] == []


async def test_hostile_paths_and_parameters_are_no_500(ann: Any) -> None:
    for path in (
        "/api/v1/conversations/%ff%fe",
        "/api/v1/conversations/%00",
        "/api/v1/streams/x.y?after=1",
        "/api/v1/streams/x?after=hello",
        "/api/v1/streams/x?after=" + "9" * 19,
        "/api/v1/duels/" + "a" * 5000,
        "/api/v1/nothing",
    ):
        await problem(await ann.call("GET", path), 404, 422)
    await problem(await ann.call("DELETE", "/api/v1/me"), 405)
    await problem(await ann.call("GET", "/api/v1/streams/x", **{"Last-Event-ID": "-1"}), 422)


async def test_a_body_that_never_comes_is_given_up(heed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.security.BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(heed.url).port)
    head = "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
    writer.close()
    await writer.wait_closed()


async def test_conversations_of_others_do_not_exist(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    bob = await heed.person("bob")
    path = f"/api/v1/conversations/{turn['conversation']}"
    answer = turn["answers"][0]["id"]
    for method, target, body in (
        ("GET", path, None),
        ("PATCH", path, {"title": "mine now"}),
        ("DELETE", path, None),
        ("POST", f"{path}/messages", {"text": "x"}),
        ("POST", f"{path}/answers", {"parent_id": turn["message"]["id"]}),
        ("GET", turn["stream"], None),
        ("GET", f"/api/v1/duels/{turn['duel']['id']}", None),
        ("POST", f"/api/v1/answers/{answer}/stop", None),
        ("POST", f"/api/v1/answers/{answer}/continue", None),
    ):
        await problem(await bob.call(method, target, body), 404)
    thumb = {"kind": "thumb", "answer_id": answer, "choice": "up"}
    await problem(await bob.call("POST", "/api/v1/votes", thumb, **{"Idempotency-Key": "k"}), 404)
    assert (await bob.get("/api/v1/conversations"))["items"] == []
