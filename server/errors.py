"""Errors of the domain and the one shape each API gives them.

`/api` answers problem+json (RFC 9457) with `field` and `remedy`; `/v1` answers OpenAI's error object.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from store.accounts import NameTaken, PasswordTooShort, TooManyAttempts, WrongCredentials, WrongToken
from store.connection import StoreUnavailable
from store.policies import NothingToRollBackTo, PointerMoved
from store.runs import RunAlreadyOpen
from store.votes import AlreadyVoted, IdempotencyConflict

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
        remedy = "your message is kept; try again in a few seconds"
        super().__init__(503, "engine_unavailable", detail, remedy=remedy, retry_after_s=5)


class QueueFull(Problem):
    """Too many answers are under way, in all or for this person."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            429, "too_busy", detail, remedy="wait for an answer to end", retry_after_s=RETRY_AFTER_S
        )


class VersionNotServed(Problem):
    """No engine holds the version that was asked for."""

    def __init__(self, model: str) -> None:
        remedy = "ask for one of GET /v1/models"
        super().__init__(404, "model_not_found", f"no engine serves {model}", field="model", remedy=remedy)


class EngineFailed(Exception):
    """The engine broke off in the middle of an answer; asking again may work."""


def not_found(what: str) -> Problem:
    return Problem(404, "not_found", f"there is no such {what}", remedy="check the id")


def problem_of(error: Exception) -> Problem:
    """The problem that a domain error is to the person who asked."""
    match error:
        case Problem():
            return error
        case StoreUnavailable():
            detail = "the store is away; nothing was counted or changed"
            remedy = "try again in a few seconds with the same Idempotency-Key"
            return Problem(503, "store_unavailable", detail, remedy=remedy, retry_after_s=RETRY_AFTER_S)
        case EngineFailed():
            return NoEngine(str(error))
        case IdempotencyConflict():
            remedy = "send a new key with a new vote"
            return Problem(409, "idempotency_conflict", str(error), field="Idempotency-Key", remedy=remedy)
        case AlreadyVoted():
            remedy = "open a new turn to vote again"
            return Problem(409, "already_voted", str(error), field="duel_id", remedy=remedy)
        case RunAlreadyOpen():
            detail = f"run {error} is queued or running"
            return Problem(409, "run_open", detail, remedy="wait for it or cancel it")
        case NothingToRollBackTo() | PointerMoved():
            remedy = "look at GET /api/v1/policies"
            return Problem(409, "cannot_roll_back", str(error), remedy=remedy)
        case WrongCredentials() | WrongToken():
            return Problem(401, "wrong_credentials", str(error), remedy="check what you typed")
        case TooManyAttempts():
            return Problem(429, "too_many_attempts", str(error), retry_after_s=error.retry_after_s)
        case NameTaken():
            return Problem(409, "name_taken", str(error), field="name", remedy="choose another name")
        case PasswordTooShort():
            return Problem(422, "password_too_short", str(error), field="password", remedy="use a longer one")
    raise error


def response_of(request: Request, problem: Problem) -> Response:
    """The problem in the shape of the API that was called."""
    headers = {} if problem.retry_after_s is None else {"Retry-After": str(problem.retry_after_s)}
    if request.url.path.startswith("/v1/"):
        kind = "invalid_request_error" if problem.status < 500 else "server_error"
        error = {
            "message": " ".join(
                filter(None, (problem.detail + ".", problem.remedy and f"Remedy: {problem.remedy}."))
            ),
            "type": kind,
            "param": problem.field,
            "code": problem.kind,
        }
        return JSONResponse({"error": error}, problem.status, headers)
    body = {
        "type": f"urn:heed:{problem.kind}",
        "title": problem.kind.replace("_", " "),
        "status": problem.status,
        "detail": problem.detail,
        "field": problem.field,
        "remedy": problem.remedy,
    }
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def _from_validation(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    if first["type"] == "json_invalid":
        return Problem(400, "malformed_json", "the body is not valid JSON", remedy="send JSON in UTF-8")
    detail = f"{field or 'body'}: {first['msg']}"
    return Problem(422, "invalid", detail, field=field or None, remedy="correct this field")


def add_handlers(app: FastAPI) -> None:
    """Give every error its shape; what is not expected becomes a plain 500 without a trace."""

    async def handle(request: Request, error: Exception) -> Response:
        return response_of(request, problem_of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response_of(request, _from_validation(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = Problem(
            error.status_code, "not_allowed" if error.status_code == 405 else "http", error.detail
        )
        if error.status_code == 404:
            problem = not_found("page or route")
        return response_of(request, problem)

    async def unexpected(request: Request, error: Exception) -> Response:
        detail = "something unexpected went wrong here; the server's log has it"
        return response_of(request, Problem(500, "internal", detail, remedy="try again"))

    async def undecodable(request: Request, error: Exception) -> Response:
        problem = Problem(
            400, "malformed_json", "the body is not valid UTF-8 JSON", remedy="send JSON in UTF-8"
        )
        return response_of(request, problem)

    known: tuple[type[Exception], ...] = (
        Problem, StoreUnavailable, EngineFailed, IdempotencyConflict, AlreadyVoted, RunAlreadyOpen,
        NothingToRollBackTo, PointerMoved, WrongCredentials, WrongToken, TooManyAttempts, NameTaken,
        PasswordTooShort,
    )  # fmt: skip
    for kind in known:
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(UnicodeDecodeError, undecodable)
    app.add_exception_handler(Exception, unexpected)


def sse_error(problem: Problem) -> str:
    """An error in the middle of an OpenAI stream."""
    error: dict[str, Any] = {
        "message": problem.detail,
        "type": "server_error",
        "param": None,
        "code": problem.kind,
    }
    return json.dumps({"error": error})
