"""Pure ASGI middleware: response headers and a limit on bodies."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 256 * 1024
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


class TooLarge(Exception):
    """The body passed the limit while it was read."""


class Shield:
    """Adds the security headers to every response and answers 413 to a huge body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        received = 0
        started = False

        async def send_shielded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_LIMIT:
                raise TooLarge
            return message

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > BODY_LIMIT:
            return await _refuse(scope, send_shielded)
        try:
            await self.app(scope, receive_limited, send_shielded)
        except TooLarge:
            if not started:
                await _refuse(scope, send_shielded)


async def _refuse(scope: Scope, send: Send) -> None:
    detail, remedy = f"the body is larger than {BODY_LIMIT} bytes", "send less"
    if scope["path"].startswith("/v1/"):
        error = {"message": detail, "type": "invalid_request_error", "param": None, "code": "too_large"}
        body, kind = json.dumps({"error": error}), b"application/json"
    else:
        problem = {"type": "urn:heed:too_large", "title": "too large", "status": 413, "detail": detail}
        body, kind = json.dumps({**problem, "field": None, "remedy": remedy}), b"application/problem+json"
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body.encode()})
