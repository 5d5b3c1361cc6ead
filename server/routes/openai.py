"""OpenAI-compatible chat completions: an allow-list of fields, the same engines, the same errors."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from server.dependencies import Heed, Me, Parts
from server.engines.client import Delta
from server.engines.pool import Lease
from server.errors import EngineFailed, Problem, VersionNotServed, problem_of, sse_error
from server.metrics import TOKENS
from store.records import Account, ChatTurn, Sampling, new_id

router = APIRouter(prefix="/v1", tags=["openai"])


class Part(BaseModel):
    type: Literal["text"]
    text: str


class TurnIn(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def turn(self) -> ChatTurn:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatTurn(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(BaseModel):
    include_usage: bool = False


class CompletionIn(BaseModel):
    """Unknown fields are ignored, as OpenAI's clients expect; wrong types are refused."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str
    messages: Annotated[list[TurnIn], Field(min_length=1, max_length=200)]
    max_tokens: int | None = Field(default=None, ge=1, le=8192)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=8192)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=2)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    def sampling(self, default: Sampling) -> Sampling:
        given = {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        }
        return default.model_copy(update={name: value for name, value in given.items() if value is not None})


@router.get("/models")
async def models(heed: Heed, me: Me) -> dict[str, Any]:
    """`active` and each version that an engine holds."""
    names = ["active", *(f"v{number}" for number in sorted(heed.pool.served()))]
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "heed"} for name in names],
    }


@router.post("/chat/completions", response_model=None)
async def complete(body: CompletionIn, heed: Heed, me: Me) -> Response:
    """One or two answers, whole or as a stream. A client that leaves stops its generation."""
    version = _version(body.model)
    messages = [turn.turn() for turn in body.messages]
    sampling = body.sampling(heed.config.sampling)
    leases = await _leases(heed, me, version, body.n)
    head = {"id": new_id("chatcmpl"), "created": int(time.time()), "model": body.model}
    head["system_fingerprint"] = f"v{leases[0].version}"
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        generations = _merged(heed, leases, messages, sampling)
        first = await _first(generations)
        return StreamingResponse(_chunks(head, first, generations, usage), media_type="text/event-stream")
    return JSONResponse(await _whole(heed, head, leases, messages, sampling))


def _version(model: str) -> int | None:
    if model == "active":
        return None
    if model.startswith("v") and model[1:].isdecimal():
        return int(model[1:])
    raise VersionNotServed(model)


async def _leases(heed: Parts, me: Account, version: int | None, n: int) -> list[Lease]:
    leases: list[Lease] = []
    try:
        for _ in range(n):
            leases.append(await heed.pool.lease(version, user=me.id))
    except Problem:
        for lease in leases:
            await lease.release()
        raise
    return leases


async def _merged(
    heed: Parts, leases: list[Lease], messages: list[ChatTurn], sampling: Sampling
) -> AsyncIterator[tuple[int, Delta]]:
    """The deltas of all choices as they come; leaving early aborts every generation in the engine."""
    arrived: asyncio.Queue[tuple[int, Delta | Exception | None]] = asyncio.Queue()

    async def speak(index: int, lease: Lease) -> None:
        generation = heed.pool.stream(lease, messages, sampling)
        try:
            async for delta in generation:
                arrived.put_nowait((index, delta))
            arrived.put_nowait((index, None))
        except (EngineFailed, Problem) as error:
            arrived.put_nowait((index, error))
        finally:
            await generation.aclose()
            await lease.release()

    tasks = [asyncio.create_task(speak(index, lease)) for index, lease in enumerate(leases)]
    speaking = len(tasks)
    try:
        while speaking:
            index, item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                speaking -= 1
            else:
                if item.response_tokens:
                    TOKENS.labels(version=leases[index].version).inc(item.response_tokens)
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _first(generations: AsyncIterator[tuple[int, Delta]]) -> tuple[int, Delta]:
    """Wait for the first delta, so that a refusal still has its HTTP status."""
    return await anext(generations)


async def _chunks(
    head: dict[str, Any],
    first: tuple[int, Delta],
    generations: AsyncIterator[tuple[int, Delta]],
    with_usage: bool,
) -> AsyncIterator[str]:
    prefix = json.dumps(head | {"object": "chat.completion.chunk"})[:-1]
    tokens: dict[int, tuple[int, int]] = {}

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> str:
        choice = json.dumps([{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}])
        return f'data: {prefix}, "choices": {choice}}}\n\n'

    opened: set[int] = set()
    try:
        item: tuple[int, Delta] | None = first
        while item is not None:
            index, delta = item
            if index not in opened:
                opened.add(index)
                yield chunk(index, {"role": "assistant", "content": ""})
            if delta.finish_reason:
                tokens[index] = (delta.prompt_tokens or 0, delta.response_tokens or 0)
                yield chunk(index, {}, delta.finish_reason)
            else:
                yield chunk(index, {"content": delta.text})
            item = await anext(generations, None)
        if with_usage:
            yield f'data: {prefix}, "choices": [], "usage": {json.dumps(_usage(tokens))}}}\n\n'
        yield "data: [DONE]\n\n"
    except (EngineFailed, Problem) as error:
        yield f"data: {sse_error(problem_of(error))}\n\n"
    finally:
        await generations.aclose()  # type: ignore[attr-defined]


async def _whole(
    heed: Parts, head: dict[str, Any], leases: list[Lease], messages: list[ChatTurn], sampling: Sampling
) -> dict[str, Any]:
    texts = [""] * len(leases)
    reasons: dict[int, str] = {}
    tokens: dict[int, tuple[int, int]] = {}
    async for index, delta in _merged(heed, leases, messages, sampling):
        texts[index] += delta.text
        if delta.finish_reason:
            reasons[index] = delta.finish_reason
            tokens[index] = (delta.prompt_tokens or 0, delta.response_tokens or 0)
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": reasons[index],
        }
        for index, text in enumerate(texts)
    ]
    return head | {"object": "chat.completion", "choices": choices, "usage": _usage(tokens)}


def _usage(tokens: dict[int, tuple[int, int]]) -> dict[str, int]:
    prompt = max((one for one, _ in tokens.values()), default=0)
    said = sum(one for _, one in tokens.values())
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
