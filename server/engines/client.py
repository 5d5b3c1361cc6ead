"""One vLLM engine over HTTP or a Unix socket: generate, and the control calls of the hot swap."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from server.errors import EngineFailed, Problem
from store.records import ChatTurn, Fingerprint, Sampling

MODEL = "policy"
CONTROL_TIMEOUT_S = 60
LABEL = "heed:"
LOADING = "heed-loading"


class Delta(NamedTuple):
    """A piece of an answer; the last one carries why it ended and the token counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None


class EngineClient:
    """Requests are built field by field: nothing a client sent is passed through."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        unix = self.address.startswith("unix://")
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(path=self.address.removeprefix("unix://"), limit=0)
            if unix
            else aiohttp.TCPConnector(limit=0)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
        base = "http://engine" if unix else self.address
        self._session = aiohttp.ClientSession(base, connector=connector, timeout=timeout)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "open() first"
        return self._session

    async def healthy(self) -> bool:
        """Whether the engine answers and its core lives."""
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with self.session.get("/health", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def held_folder(self) -> str | None:
        """Name of the version folder whose weights the engine holds; None while that is not certain.

        A label set by `load` survives a restart of this server; without one the engine still holds what its
        process was started on.
        """
        label = (await self._call("GET", "/weight_info"))["weight_version"]
        if label == LOADING:
            return None
        if label.startswith(LABEL):
            return str(label.removeprefix(LABEL))
        models = await self._call("GET", "/v1/models")
        return Path(models["data"][0]["root"]).name

    async def stream(self, messages: Sequence[ChatTurn], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The answer piece by piece; closing the generator aborts it in the engine.

        Raises EngineFailed when the engine breaks off, Problem (422) when the context is too long.
        """
        body = {
            "model": MODEL,
            "messages": [turn.model_dump() for turn in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with self.session.post("/v1/chat/completions", json=body) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.text())
                finish_reason, usage = None, None
                async for line in response.content:
                    if not line.startswith(b"data: {"):
                        continue
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        raise EngineFailed(f"{self.name} broke off: {chunk['error'].get('message')}")
                    usage = chunk.get("usage") or usage
                    for choice in chunk["choices"]:
                        finish_reason = choice["finish_reason"] or finish_reason
                        if text := choice["delta"].get("content"):
                            yield Delta(text)
                if finish_reason not in ("stop", "length"):
                    raise EngineFailed(f"{self.name} ended the stream early ({finish_reason})")
                counts = usage or {}
                yield Delta("", finish_reason, counts.get("prompt_tokens"), counts.get("completion_tokens"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailed(f"{self.name} went away in the middle of the answer") from error

    async def count_tokens(self, messages: Sequence[ChatTurn]) -> int:
        """Prompt tokens of these turns with the chat template."""
        body = {"model": MODEL, "messages": [turn.model_dump() for turn in messages]}
        return int((await self._call("POST", "/tokenize", body))["count"])

    async def pause(self) -> None:
        """Hold every request where it is; their KV cache is dropped and will be recomputed."""
        await self._call("POST", "/pause?mode=keep&clear_cache=true")

    async def resume(self) -> None:
        await self._call("POST", "/resume")

    async def load(self, folder: Path) -> None:
        """Take the weights of a folder and forget every cached prefix."""
        await self._call("POST", "/update_weight_version", {"new_version": LOADING})
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        await self._call("POST", "/collective_rpc", body)
        await self._call("POST", "/reset_prefix_cache")
        await self._call("POST", "/update_weight_version", {"new_version": LABEL + folder.name})

    async def greedy(self, prompt: str, tokens: int) -> Fingerprint:
        """What the engine says at temperature 0. Raises EngineFailed when a log-probability is not finite."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "logprobs": True,
            "return_token_ids": True,
        }
        choice = (await self._call("POST", "/v1/chat/completions", body))["choices"][0]
        for entry in choice["logprobs"]["content"]:
            # vLLM caps what it cannot express in JSON at -9999.
            if not math.isfinite(entry["logprob"]) or entry["logprob"] <= -9999:
                raise EngineFailed(f"{self.name} gives log-probabilities that are not finite")
        return Fingerprint(prompt=prompt, token_ids=tuple(choice["token_ids"]))

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=CONTROL_TIMEOUT_S)
        try:
            async with self.session.request(method, path, json=body, timeout=timeout) as response:
                text = await response.text()
                if response.status != 200:
                    raise EngineFailed(f"{self.name} answered {path} with {response.status}: {text[:300]}")
                return json.loads(text) if text else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailed(f"{self.name} does not answer {path}: {error}") from error


def _refusal(status: int, text: str) -> Exception:
    """vLLM's refusal of one request: the caller's fault (too long) or the engine's."""
    if status == 400 and "context length" in text:
        detail = "the conversation is longer than the model's context"
        return Problem(422, "too_long", detail, field="text", remedy="shorten it or start a new conversation")
    return EngineFailed(f"the engine refused the request ({status}): {text[:300]}")
