"""Pure ASGI middleware: which hosts are answered, how large a body may be, which headers leave.

Each request gets an id, in `request.state` for the audit log and in `X-Request-ID` for who sent it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Problem, response_of
from server.metrics import Metrics
from store.records import new_id

BODY_LIMIT = 256 * 1024
BODY_TIMEOUT_S = 30.0
# Read by their handlers, piece by piece and with limits of their own, once it is known who sends them.
READ_BY_HANDLER = {"/api/v1/imports"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Shield:
    """Refuses foreign hosts and huge bodies, adds the security headers, counts requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics, allowed_hosts: Collection[str] = ()) -> None:
        self.app = app
        self._metrics = metrics
        self._allowed_hosts = {"localhost", *(name.lower() for name in allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, code, request_id = time.monotonic(), 500, new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_shielded(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                own = [*HEADERS, *([] if _says_caching(message) else [(b"cache-control", b"no-store")])]
                message["headers"] = [*message["headers"], *own, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            try:
                self._check_host(scope)
                if scope["path"] not in READ_BY_HANDLER:
                    receive = await _whole_body(scope, receive)
            except Problem as problem:
                return await response_of(scope["path"], problem)(scope, receive, send_shielded)
            await self.app(scope, receive, send_shielded)
        finally:
            # The route's pattern, never the path: paths hold ids.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, scope["method"], code, time.monotonic() - began)

    def _check_host(self, scope: Scope) -> None:
        """Only names that mean this server: a rebound DNS name of another site must not reach it.

        An IP address is always accepted, because a browser never sends one for a rebound name.
        """
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in self._allowed_hosts or _is_address(name):
            return
        remedy = "add the name to HEED_ALLOWED_HOSTS, or use localhost"
        raise Problem(421, "unknown_host", f"this server is not called {name!r}", field="Host", remedy=remedy)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _says_caching(start: Message) -> bool:
    return any(name.lower() == b"cache-control" for name, _ in start["headers"])


async def _whole_body(scope: Scope, receive: Receive) -> Receive:
    """Read a request's body up to the limit, then hand it on. Raises Problem 413 and 408."""
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return receive
    detail = f"the body is larger than {BODY_LIMIT} bytes"
    too_large = Problem(413, "too_large", detail, remedy="send less")
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > BODY_LIMIT:
        raise too_large
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > BODY_LIMIT:
                    raise too_large
    except TimeoutError:
        detail = f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s"
        raise Problem(408, "too_slow", detail, remedy="send it again") from None
    handed_on = False

    async def replay() -> Message:
        nonlocal handed_on
        if handed_on:
            return await receive()
        handed_on = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replay
