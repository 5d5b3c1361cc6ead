"""What one answer asks of vLLM, and vLLM's stream read back: both built and read field by field."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import aiohttp

from server.errors import EngineFailed, Problem
from store.records import ChatTurn, Sampling

MODEL = "policy"


class Asked(Sampling):
    """What an API client may ask for beside the sampling, none of which is stored with an answer."""

    top_logprobs: int | None = None
    """Log-probabilities of the drawn token and of so many others; None: none at all."""
    json_object: bool = False
    """The answer is a JSON object: vLLM masks every token that would make it something else."""
    ignore_eos: bool = False
    """Speak up to the length limit: for load tests, which want answers of one length."""


class Delta(NamedTuple):
    """A piece of an answer; the last one carries why it ended and the token counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    logprobs: list[dict[str, Any]] | None = None
    """One entry a token of this piece, in OpenAI's form, when they were asked for."""


def request_body(messages: Sequence[ChatTurn], sampling: Sampling) -> dict[str, Any]:
    """The request for a streamed answer. Nothing that a client sent is passed through."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [turn.model_dump() for turn in messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed is None else sampling.seed % (1 << 63),
        "stop": list(sampling.stop),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.frequency_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        body["presence_penalty"] = sampling.presence_penalty
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if isinstance(sampling, Asked):
        if sampling.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        if sampling.json_object:
            body["response_format"] = {"type": "json_object"}
        if sampling.ignore_eos:
            body["ignore_eos"] = True
    return body


async def read_deltas(response: aiohttp.ClientResponse, engine: str) -> AsyncGenerator[Delta, None]:
    """The pieces of a streamed answer. Raises EngineFailed when it breaks off, Problem for a wrong field.

    What one read brings becomes one piece: a server that is behind catches up by sending fewer, longer ones.
    """
    finish_reason, usage, left = None, None, b""
    async for received in response.content.iter_any():
        *events, left = (left + received).split(b"\n\n")
        logprobs: list[dict[str, Any]] = []
        text, broken = "", None
        for event in events:
            if not event.startswith(b"data: {"):
                continue
            chunk = json.loads(event[6:])
            if "error" in chunk:
                broken = chunk["error"]
                break
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                finish_reason = choice["finish_reason"] or finish_reason
                text += choice["delta"].get("content") or ""
                if said := choice.get("logprobs"):
                    logprobs += said["content"] or ()
        if text or logprobs:
            yield Delta(text, logprobs=logprobs or None)
        if broken is not None:
            if broken.get("code") == 400:  # vLLM looks at some fields only when the stream has begun
                raise refusal(400, str(broken.get("message")))
            raise EngineFailed(f"{engine} broke off: {broken.get('message')}")
    if finish_reason not in ("stop", "length"):
        raise EngineFailed(f"{engine} ended the stream early ({finish_reason})")
    counts = usage or {}
    yield Delta("", finish_reason, counts.get("prompt_tokens"), counts.get("completion_tokens"))


def refusal(status: int, text: str) -> Exception:
    """vLLM's refusal of one request: the caller's fault or the engine's."""
    if status == 400 and "context length" in text:
        detail = "the conversation is longer than the model's context"
        return Problem(422, "too_long", detail, field="text", remedy="shorten it or start a new conversation")
    if status == 400 and "logit_bias" in text:
        detail = "logit_bias names a token that this model does not have"
        return Problem(422, "invalid", detail, field="logit_bias", remedy="use token ids of this model")
    return EngineFailed(f"the engine refused the request ({status}): {text[:300]}")
