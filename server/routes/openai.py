"""OpenAI-compatible endpoints: chat completions, models, and feedback on what was answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request
from starlette.responses import JSONResponse
from starlette.responses import Response as HttpResponse

from server.completions import Completion
from server.dependencies import Heed, Me, Parts, Voter
from server.drawing import room
from server.engines.pool import EnginePool
from server.errors import VersionNotServed
from server.events import EventStream
from server.feedback import Feedback
from server.limits import limit_completions
from server.openai_shapes import CompletionIn, FeedbackIn, FeedbackOut
from store.connection import StoreUnavailable
from store.records import Account, new_id

router = APIRouter(prefix="/v1", tags=["openai"])

CLIENT_GONE = 499
LOOK_S = 0.25
T = TypeVar("T")
log = logging.getLogger("heed.openai")

OptionalKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


@router.get("/models")
async def models(heed: Heed, me: Me) -> dict[str, Any]:
    """`active`, `canary` while one runs, and each version that an engine holds."""
    return {"object": "list", "data": list(_models(heed.pool).values())}


@router.get("/models/{model}")
async def model(model: str, heed: Heed, me: Me) -> dict[str, Any]:
    """One of them."""
    found = _models(heed.pool).get(model)
    if found is None:
        raise VersionNotServed(model)
    return found


def _models(pool: EnginePool) -> dict[str, dict[str, Any]]:
    """What can be asked for now; `root` says which version a name stands for."""
    made = {
        engine.version: int(engine.record.created_at.timestamp())
        for engine in pool.engines
        if engine.version is not None and engine.record is not None
    }
    names = {"active": pool.serving, "canary": getattr(pool, "canary", None)}
    names |= {f"v{number}": number for number in sorted(pool.served())}
    return {
        name: {
            "id": name,
            "object": "model",
            "created": made.get(number, 0),
            "owned_by": "heed",
            "root": f"v{number}",
        }
        for name, number in names.items()
        if number is not None
    }


@router.post("/chat/completions", response_model=None, dependencies=[Depends(limit_completions)])
async def complete(body: CompletionIn, request: Request, heed: Heed, me: Me) -> HttpResponse:
    """One or more answers, whole or as a stream. A client that leaves stops its generation."""
    version = _version(heed.pool, body.model)
    prompt = [turn.turn() for turn in body.messages]
    asked = body.asked(heed.config.sampling)
    limit = await room(heed.pool, prompt, asked.max_tokens, field="messages")
    asked = asked.model_copy(update={"max_tokens": limit})
    waiting = heed.admission.enter(me.id, lambda: [version] * body.n)
    try:
        leases = await _unless_gone(request, waiting.leases())
        if leases is None:
            await waiting.leave()
            return HttpResponse(status_code=CLIENT_GONE)
        said = Completion(
            new_id("chatcmpl"), body.model, heed.pool, leases, prompt, asked, version=version, user=me.id
        )
        headers: dict[str, str] = {}
        if not body.stream:
            whole = await _unless_gone(request, said.whole())
            await waiting.leave()
            if whole is None:
                return HttpResponse(status_code=CLIENT_GONE)
            await _ended(heed, me, said, body.store)
            headers["x-heed-version"] = f"v{said.choices[0].versions[-1]}"
            return JSONResponse(whole, headers=headers)
        # The first words before the headers, so that a refusal still has its HTTP status.
        first = await _unless_gone(request, said.begin())
    except BaseException:
        await waiting.leave()
        raise
    if first is None:
        await waiting.leave()
        return HttpResponse(status_code=CLIENT_GONE)
    stream = EventStream(_stream(heed, me, said, body.store, body.stream_options.include_usage))
    stream.headers.update(headers | {"x-heed-version": f"v{first.lease.version}"})
    return stream


async def _stream(
    heed: Parts, me: Account, said: Completion, keep: bool, with_usage: bool
) -> AsyncIterator[bytes]:
    async with aclosing(said.chunks(with_usage=with_usage)) as chunks:
        async for chunk in chunks:
            yield chunk
    if all(choice.end for choice in said.choices):
        await _ended(heed, me, said, keep)
        yield (said.counted() if with_usage else b"") + b"data: [DONE]\n\n"


async def _ended(heed: Parts, me: Account, said: Completion, keep: bool) -> None:
    """Count what was said, and keep it before its end is told: who hears of the end may give feedback."""
    for choice in said.choices:
        if choice.end is not None:
            heed.metrics.answered(choice.versions[-1], choice.end.response_tokens)
    kept = said.kept(me) if keep else None
    if kept is not None:
        try:
            await heed.responses.keep(kept)
        except StoreUnavailable as error:
            log.warning("no feedback can come to %s: %s", said.id, error)


@router.post("/feedback", status_code=201)
async def give_feedback(
    body: FeedbackIn, response: HttpResponse, heed: Heed, me: Voter, idempotency_key: OptionalKey = None
) -> FeedbackOut:
    """Say what an answer was worth, once: it becomes a vote. Only for the account that asked."""
    began = time.monotonic()
    feedback = Feedback(heed.responses, heed.conversations, heed.votes, heed.voting)
    cast, rated = await feedback.give(me, body, idempotency_key)
    if cast.created:
        heed.metrics.vote(cast.vote, began)
    else:
        response.status_code = 200
    answer = rated.answers[body.index if body.choice is None else 0]
    return FeedbackOut(
        id=cast.vote.id,
        response_id=rated.id,
        index=body.index if body.choice is None else None,
        kind=cast.vote.kind,
        choice=cast.vote.choice,
        comment=cast.vote.comment,
        model=f"v{answer.policy_version}",
        created=int(cast.vote.created_at.timestamp()),
    )


def _version(pool: EnginePool, model: str) -> int | None:
    """The version that a model's name asks for; None: the one that serves. Raises VersionNotServed."""
    if model == "active":
        return None
    if model.startswith("v") and model[1:].isascii() and model[1:].isdecimal() and len(model) < 12:
        return int(model[1:])
    canary: int | None = getattr(pool, "canary", None)
    if model == "canary" and canary is not None:
        return canary
    raise VersionNotServed(model)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; when the client leaves before, the work is cancelled and None comes back."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if not task.done() and await request.is_disconnected():
                return None
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
