"""OpenAI-compatible chat completions: an allow-list of fields, the same engines, OpenAI's errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from fastapi import APIRouter, Request
from sse_starlette.event import ServerSentEvent
from starlette.responses import JSONResponse, Response

from server.dependencies import Heed, Me, Parts
from server.drawing import room, speak
from server.engines.client import Delta
from server.engines.pool import Lease
from server.errors import EngineFailed, Problem, VersionNotServed, openai_error, problem_of
from server.events import EventStream
from server.openai_shapes import CompletionIn
from store.records import ChatTurn, Sampling, new_id

router = APIRouter(prefix="/v1", tags=["openai"])

CLIENT_GONE = 499
LOOK_S = 0.25
T = TypeVar("T")


class Said(NamedTuple):
    """A piece of one choice, and the version that it comes from."""

    choice: int
    delta: Delta
    version: int


@router.get("/models")
async def models(heed: Heed, me: Me) -> dict[str, Any]:
    """`active` and each version that an engine holds."""
    names = ["active", *(f"v{number}" for number in sorted(heed.pool.served()))]
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "heed"} for name in names],
    }


@router.post("/chat/completions", response_model=None)
async def complete(body: CompletionIn, request: Request, heed: Heed, me: Me) -> Response:
    """One or two answers, whole or as a stream. A client that leaves stops its generation."""
    version = _version(body.model)
    prompt = [turn.turn() for turn in body.messages]
    sampling = body.sampling(heed.config.sampling)
    limit = await room(heed.pool, prompt, sampling.max_tokens, field="messages")
    sampling = sampling.model_copy(update={"max_tokens": limit})
    leases: list[Lease] = []
    try:
        for _ in range(body.n or 1):
            leases.append(await heed.pool.lease(version, user=me.id))
        head = {
            "id": new_id("chatcmpl"),
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": f"v{leases[0].version}",
        }
        said = _choices(heed, leases, prompt, sampling, version, me.id)
        if not body.stream:
            whole = await _unless_gone(request, _whole(head, said, len(leases)))
            return Response(status_code=CLIENT_GONE) if whole is None else JSONResponse(whole)
        # The first words before the headers, so that a refusal still has its HTTP status.
        first = await _unless_gone(request, _first(said))
    except BaseException:
        for lease in leases:
            await lease.release()
        raise
    if first is None:
        return Response(status_code=CLIENT_GONE)
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return EventStream(_frames(head, first, said, with_usage))


def _version(model: str) -> int | None:
    if model == "active":
        return None
    if model.startswith("v") and model[1:].isascii() and model[1:].isdecimal() and len(model) < 12:
        return int(model[1:])
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


async def _choices(
    heed: Parts,
    leases: Sequence[Lease],
    prompt: Sequence[ChatTurn],
    sampling: Sampling,
    version: int | None,
    user: str,
) -> AsyncGenerator[Said, None]:
    """The words of all choices as they come; closing it aborts every generation in the engine."""
    arrived: asyncio.Queue[Said | BaseException | None] = asyncio.Queue()

    async def draw(index: int, lease: Lease) -> None:
        # One seed for both choices would draw the same answer twice.
        seed = None if sampling.seed is None else sampling.seed + index
        own = sampling.model_copy(update={"seed": seed})
        try:
            words = speak(heed.pool, lease, prompt, own, version=version, user=user)
            async with aclosing(words):
                async for delta, current in words:
                    arrived.put_nowait(Said(index, delta, current.version))
            arrived.put_nowait(None)
        except Exception as error:
            arrived.put_nowait(error)

    tasks = [asyncio.create_task(draw(index, lease)) for index, lease in enumerate(leases)]
    speaking = len(tasks)
    try:
        while speaking:
            item = await arrived.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                speaking -= 1
                continue
            if item.delta.finish_reason:
                heed.metrics.answered(item.version, item.delta.response_tokens)
            yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lease in leases:
            await lease.release()


async def _first(said: AsyncGenerator[Said, None]) -> Said:
    try:
        return await anext(said)
    except StopAsyncIteration:
        raise EngineFailed("the engine said nothing") from None


async def _frames(
    head: dict[str, Any], first: Said, said: AsyncGenerator[Said, None], with_usage: bool
) -> AsyncIterator[ServerSentEvent]:
    """OpenAI's chunks; after an error the error object, and no [DONE]."""
    head = head | {"object": "chat.completion.chunk"}
    usage: dict[str, Any] = {"usage": None} if with_usage else {}
    tokens: dict[int, Delta] = {}
    opened: set[int] = set()

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> ServerSentEvent:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return ServerSentEvent(json.dumps(head | {"choices": [choice]} | usage))

    item: Said | None = first
    async with aclosing(said):
        try:
            while item is not None:
                index, delta = item.choice, item.delta
                if index not in opened:
                    opened.add(index)
                    yield chunk(index, {"role": "assistant", "content": ""})
                if delta.text:
                    yield chunk(index, {"content": delta.text})
                if delta.finish_reason:
                    tokens[index] = delta
                    yield chunk(index, {}, delta.finish_reason)
                item = await anext(said, None)
        except (EngineFailed, Problem) as error:
            yield ServerSentEvent(json.dumps({"error": openai_error(problem_of(error))}))
            return
    if with_usage:
        yield ServerSentEvent(json.dumps(head | {"choices": [], "usage": _usage(tokens)}))
    yield ServerSentEvent("[DONE]")


async def _whole(head: dict[str, Any], said: AsyncGenerator[Said, None], n: int) -> dict[str, Any]:
    texts: list[list[str]] = [[] for _ in range(n)]
    ends: dict[int, Delta] = {}
    async with aclosing(said):
        async for index, delta, _ in said:
            texts[index].append(delta.text)
            if delta.finish_reason:
                ends[index] = delta
    if len(ends) != n:
        raise EngineFailed("the engine ended without a reason")
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": "".join(text), "refusal": None},
            "logprobs": None,
            "finish_reason": ends[index].finish_reason,
        }
        for index, text in enumerate(texts)
    ]
    return head | {"object": "chat.completion", "choices": choices, "usage": _usage(ends)}


def _usage(ends: dict[int, Delta]) -> dict[str, int]:
    """Token counts of all choices; the prompt counts once."""
    prompt = max((end.prompt_tokens or 0 for end in ends.values()), default=0)
    said = sum(end.response_tokens or 0 for end in ends.values())
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
