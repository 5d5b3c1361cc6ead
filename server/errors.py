"""Errors of the domain and the one shape each API gives them.

`/api` answers problem+json (RFC 9457) with `field` and `remedy`; `/v1` answers OpenAI's error object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from store.accounts import (
    AccountDisabled,
    LastAdmin,
    NameTaken,
    PasswordTooShort,
    TooManyAttempts,
    WrongCredentials,
    WrongToken,
)
from store.connection import StoreUnavailable
from store.conversations import ConversationGone
from store.engines import EngineNameTaken, EngineUnknown
from store.guidelines import GuidelinesChanged
from store.invites import InviteGone
from store.policies import CanaryRefused, NothingToRollBackTo, PointerMoved
from store.requests import RequestWaits
from store.runs import CannotRetry, RunAlreadyOpen
from store.votes import AlreadyVoted, IdempotencyConflict, VoteUndone

RETRY_AFTER_S = 2


class Problem(Exception):
    """A request that cannot be done, as the person who sent it should hear it."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.retry_after_s = retry_after_s


class NoEngine(Problem):
    """No engine can answer now."""

    def __init__(self, detail: str = "the model is not available right now") -> None:
        remedy = "try again in a few seconds"
        super().__init__(503, "engine_unavailable", detail, remedy=remedy, retry_after_s=5)


class QueueFull(Problem):
    """Too many requests wait for an answer already."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        remedy = f"try again in {retry_after_s} s"
        super().__init__(429, "too_busy", detail, remedy=remedy, retry_after_s=retry_after_s)


class VersionNotServed(Problem):
    """No engine holds the version that was asked for."""

    def __init__(self, model: str) -> None:
        remedy = "ask for one of GET /v1/models"
        super().__init__(404, "model_not_found", f"no engine serves {model}", field="model", remedy=remedy)


class EngineFailed(Exception):
    """The engine broke off in the middle of an answer; asking again may work."""


def not_found(what: str) -> Problem:
    return Problem(404, "not_found", f"there is no such {what}", remedy="check the id")


def problem_of(error: Exception) -> Problem:  # noqa: C901 - a flat table
    """The problem that a domain error is to the person who asked."""
    match error:
        case Problem():
            return error
        case StoreUnavailable():
            detail = "the store is away; nothing was counted or changed"
            remedy = "try again in a few seconds with the same Idempotency-Key"
            return Problem(503, "store_unavailable", detail, remedy=remedy, retry_after_s=RETRY_AFTER_S)
        case EngineFailed():
            # Its own words name an engine, which could tell two blind answers apart; they are in the log.
            return NoEngine("the model broke off the answer")
        case IdempotencyConflict():
            remedy = "send a new key with a new vote"
            return Problem(409, "idempotency_conflict", str(error), field="Idempotency-Key", remedy=remedy)
        case AlreadyVoted():
            remedy = "open a new turn to vote again"
            return Problem(409, "already_voted", str(error), field="duel_id", remedy=remedy)
        case VoteUndone():
            return Problem(409, "vote_undone", str(error), remedy="vote again with a new key")
        case GuidelinesChanged():
            detail = "somebody else changed the guidelines meanwhile"
            remedy = "read GET /api/v1/guidelines, then send `after` with its version"
            return Problem(409, "guidelines_changed", detail, field="after", remedy=remedy)
        case ConversationGone():
            return not_found("conversation")
        case RunAlreadyOpen():
            detail = f"run {error} is queued or running"
            return Problem(409, "run_open", detail, remedy="wait for it or cancel it")
        case RequestWaits():
            remedy = "wait for its training, or cancel it with DELETE /api/v1/requests/{id}"
            return Problem(409, "request_waits", f"your request {error} waits already", remedy=remedy)
        case CannotRetry():
            return Problem(409, "cannot_retry", str(error), remedy="start a new training")
        case EngineNameTaken():
            detail = f"another engine has the name {error}"
            return Problem(409, "name_taken", detail, field="name", remedy="choose another name")
        case EngineUnknown():
            return not_found("engine that joined")
        case CanaryRefused():
            return Problem(409, "canary_refused", str(error), remedy=error.remedy)
        case NothingToRollBackTo() | PointerMoved():
            remedy = "look at GET /api/v1/policies"
            return Problem(409, "cannot_roll_back", str(error), remedy=remedy)
        case WrongCredentials() | WrongToken():
            return Problem(401, "wrong_credentials", str(error), remedy="check what you typed")
        case AccountDisabled():
            return Problem(403, "account_disabled", str(error), remedy="ask an admin")
        case InviteGone():
            return Problem(410, "invite_gone", str(error), field="token", remedy="ask for a new link")
        case LastAdmin():
            return Problem(409, "last_admin", str(error), remedy="make another admin first")
        case TooManyAttempts():
            return Problem(429, "too_many_attempts", str(error), retry_after_s=error.retry_after_s)
        case NameTaken():
            return Problem(409, "name_taken", str(error), field="name", remedy="choose another name")
        case PasswordTooShort():
            return Problem(422, "password_too_short", str(error), field="password", remedy="use a longer one")
    raise error


MALFORMED = Problem(
    400, "malformed_json", "the body is not valid JSON", remedy="send JSON in UTF-8 as application/json"
)
OPENAI_CODES = {
    "too_long": "context_length_exceeded",
    "sign_in": "invalid_api_key",
    "too_busy": "rate_limit_exceeded",
    "too_many_attempts": "rate_limit_exceeded",
}


def response_of(path: str, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem in the shape of the API that `path` belongs to."""
    headers = dict(headers or {})
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if path.startswith("/v1/"):
        status = 400 if problem.status == 422 else problem.status  # as OpenAI's clients expect it
        if status == 409:
            headers["x-should-retry"] = "false"  # OpenAI's clients would; it would be refused again
        return _json({"error": openai_error(problem)}, status, headers, "application/json")
    body = {
        "type": f"urn:heed:{problem.kind}",
        "title": problem.kind.replace("_", " "),
        "status": problem.status,
        "detail": problem.detail,
        "field": problem.field,
        "remedy": problem.remedy,
    }
    return _json(body, problem.status, headers, "application/problem+json")


def openai_error(problem: Problem) -> dict[str, Any]:
    """The `error` object that OpenAI's clients read, also in the middle of a stream."""
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    remedy = f"Remedy: {problem.remedy}." if problem.remedy else None
    return {
        "message": " ".join(filter(None, (problem.detail + ".", remedy))),
        "type": "rate_limit_error" if problem.status == 429 else kind,
        "param": problem.field and re.sub(r"\.(\d+)", r"[\1]", problem.field),
        "code": OPENAI_CODES.get(problem.kind, problem.kind),
    }


def _json(body: dict[str, Any], status: int, headers: Mapping[str, str], media_type: str) -> Response:
    # ASCII only: a lone surrogate in what a hostile client sent must not break the answer that refuses it.
    return Response(json.dumps(body, ensure_ascii=True), status, headers, media_type)


def _from_validation(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    if first["type"] == "json_invalid":
        return MALFORMED
    detail = f"{field or 'body'}: {first['msg'].removeprefix('Value error, ')}"
    return Problem(422, "invalid", detail, field=field or None, remedy="correct this field")


def _from_http(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return not_found("page or route")
    if error.status_code == 405:
        return Problem(405, "not_allowed", "this route does not take this method", remedy="see Allow")
    # FastAPI's own refusal of a body that it cannot read, such as invalid UTF-8.
    return MALFORMED if error.status_code == 400 else Problem(error.status_code, "http", error.detail)


def add_handlers(app: FastAPI) -> None:
    """Give every error its shape; what is not expected becomes a plain 500 without a trace."""

    async def handle(request: Request, error: Exception) -> Response:
        return response_of(request.scope["path"], problem_of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response_of(request.scope["path"], _from_validation(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return response_of(request.scope["path"], _from_http(error), error.headers)

    async def unexpected(request: Request, error: Exception) -> Response:
        detail = "something unexpected went wrong here; the server's log has it"
        return response_of(request.scope["path"], Problem(500, "internal", detail, remedy="try again"))

    known: tuple[type[Exception], ...] = (
        Problem, StoreUnavailable, EngineFailed, IdempotencyConflict, AlreadyVoted, VoteUndone,
        GuidelinesChanged, RunAlreadyOpen, ConversationGone, CanaryRefused, EngineNameTaken, EngineUnknown,
        NothingToRollBackTo, PointerMoved, WrongCredentials, WrongToken, TooManyAttempts, NameTaken,
        PasswordTooShort, AccountDisabled, InviteGone, LastAdmin, CannotRetry, RequestWaits,
    )  # fmt: skip
    for kind in known:
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
