"""One vLLM engine over HTTP or a Unix socket: generate, and the control calls of the hot swap."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from server.errors import EngineFailed, Problem
from store.records import ChatTurn, Fingerprint, Sampling

MODEL = "policy"
HERE = "here"
"""The device of engines on this machine that name none: they share its cores."""
HEALTH_TIMEOUT_S = 5
CONTROL_TIMEOUT_S = 60
LOAD_TIMEOUT_S = 600
SILENCE_S = 120
"""Longest pause between two pieces of an answer; a swap that holds the answer is far shorter."""
NO_LOGPROB = -9999
"""What vLLM writes for a log-probability that JSON cannot hold."""
LOADING, HELD, DRAINING = "heed-loading", "heed:", "heed-draining:"
"""Labels of an engine's weights: being replaced; checked, and of which folder; and about to be replaced."""


class Delta(NamedTuple):
    """A piece of an answer; the last one carries why it ended and the token counts."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None


class Held(NamedTuple):
    """Which weights an engine holds."""

    folder: str
    """Name of the version's folder."""
    checked: bool
    """False for weights that its process was started on and nobody has looked at yet."""
    draining: bool = False
    """New answers should go to another engine."""


class NotFinite(EngineFailed):
    """The engine computes NaN. Its KV cache holds NaN now, which also spoils what good weights say later."""


class OtherWeights(EngineFailed):
    """The engine holds weights that are not those of the file: a load went wrong."""


class EngineClient:
    """Requests are built field by field: nothing a client sent is passed through."""

    def __init__(self, name: str, address: str, device: str = HERE, token: str | None = None) -> None:
        self.name = name
        self.address = address
        self.device = device
        """What the engine computes on. Engines that name the same device share it."""
        self._token = token
        """What the sidecar of an engine on another host asks for."""
        self.why = ""
        """What `healthy` found wrong last."""
        self._session: aiohttp.ClientSession | None = None
        self._streams: set[aiohttp.ClientResponse] = set()

    async def open(self) -> None:
        unix = self.address.startswith("unix://")
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(path=self.address.removeprefix("unix://"), limit=0)
            if unix
            else aiohttp.TCPConnector(limit=0)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=HEALTH_TIMEOUT_S, sock_read=SILENCE_S)
        base = "http://engine" if unix else self.address
        headers = {"Authorization": f"Bearer {self._token}"} if self._token and not unix else {}
        self._session = aiohttp.ClientSession(base, connector=connector, timeout=timeout, headers=headers)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "open() first"
        return self._session

    async def healthy(self) -> bool:
        """Whether the engine answers and its core lives. Raises TimeoutError when it says nothing at all."""
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
            async with self.session.get("/health", timeout=timeout) as response:
                refused = response.status == 401
                self.why = "it refuses HEED_ENGINE_TOKEN" if refused else "its core has died"
                return response.status == 200
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError):
            self.why = "nobody listens"
            return False

    async def held(self) -> Held | None:
        """Which weights the engine holds; None while they are being replaced. Raises EngineFailed.

        The label lives in the engine, so it outlives a restart of this server and tells the other servers.
        """
        label = str((await self._call("GET", "/weight_info"))["weight_version"])
        if label == LOADING:
            return None
        for prefix in (HELD, DRAINING):
            if label.startswith(prefix):
                return Held(label.removeprefix(prefix), checked=True, draining=prefix == DRAINING)
        models = await self._call("GET", "/v1/models")
        return Held(Path(models["data"][0]["root"]).name, checked=False)

    async def in_flight(self) -> int:
        """Answers that the engine is giving, to whichever server. Raises EngineFailed."""
        return int((await self._call("GET", "/load"))["server_load"])

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
            "seed": None if sampling.seed is None else sampling.seed % (1 << 63),
            "stop": list(sampling.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with self.session.post("/v1/chat/completions", json=body) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.text())
                self._streams.add(response)
                try:
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
                finally:
                    self._streams.discard(response)
                if finish_reason not in ("stop", "length"):
                    raise EngineFailed(f"{self.name} ended the stream early ({finish_reason})")
                counts = usage or {}
                yield Delta("", finish_reason, counts.get("prompt_tokens"), counts.get("completion_tokens"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailed(f"{self.name} went away in the middle of the answer") from error

    def abandon(self) -> None:
        """End every stream from this engine with EngineFailed: a frozen process would keep them waiting."""
        for response in tuple(self._streams):
            response.close()

    async def count_tokens(self, messages: Sequence[ChatTurn]) -> int:
        """Prompt tokens of these turns with the chat template. Raises EngineFailed."""
        body = {"model": MODEL, "messages": [turn.model_dump() for turn in messages]}
        return int((await self._call("POST", "/tokenize", body))["count"])

    async def label(self, label: str) -> None:
        """Say of the weights what `held` is to answer."""
        await self._call("POST", "/update_weight_version", {"new_version": label})

    async def pause(self) -> None:
        """Hold every request where it is; their KV cache is dropped and will be recomputed."""
        await self._call("POST", "/pause?mode=keep&clear_cache=true")

    async def resume(self) -> None:
        await self._call("POST", "/resume")

    async def reload(self, folder: Path) -> None:
        """Take the weights of a folder and forget every cached prefix of the old ones."""
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        await self._call("POST", "/collective_rpc", body, timeout_s=LOAD_TIMEOUT_S)
        await self._call("POST", "/reset_prefix_cache")

    async def compare(self, folder: Path) -> None:
        """See that the engine holds exactly the weights of the folder. Raises OtherWeights, EngineFailed."""
        body = {"method": "compare_weights", "kwargs": {"weights_path": str(folder)}}
        answer = await self._call("POST", "/collective_rpc", body, timeout_s=LOAD_TIMEOUT_S)
        differ = sorted({name for worker in answer["results"] for name in worker["differ"]})
        if differ:
            names = ", ".join(differ[:3]) + (" and others" if len(differ) > 3 else "")
            raise OtherWeights(f"{self.name} holds other weights than {folder.name}: {names}")

    async def end_process(self) -> None:
        """End the engine's processes: its supervisor starts it anew. It may end before it can answer."""
        with suppress(EngineFailed):
            await self._call("POST", "/collective_rpc", {"method": "end_process"}, timeout_s=HEALTH_TIMEOUT_S)

    async def clear_kv_cache(self) -> None:
        """Overwrite the whole KV cache with zeros. Only while paused."""
        await self._call("POST", "/collective_rpc", {"method": "clear_kv_cache"})

    async def greedy(self, prompt: str, tokens: int) -> Fingerprint:
        """What the engine says at temperature 0. Raises NotFinite, EngineFailed."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "logprobs": True,
            "return_token_ids": True,
        }
        try:
            choice = (await self._call("POST", "/v1/chat/completions", body))["choices"][0]
        except EngineFailed as error:
            if "JSON compliant" in str(error):  # how vLLM's server fails on NaN
                raise NotFinite(f"{self.name} computes log-probabilities that are not finite") from error
            raise
        for entry in choice["logprobs"]["content"]:
            if not math.isfinite(entry["logprob"]) or entry["logprob"] <= NO_LOGPROB:
                raise NotFinite(f"{self.name} computes log-probabilities that are not finite")
        return Fingerprint(prompt=prompt, token_ids=tuple(choice["token_ids"]))

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float = CONTROL_TIMEOUT_S
    ) -> Any:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session.request(method, path, json=body, timeout=timeout) as response:
                text = await response.text()
                if response.status != 200:
                    raise EngineFailed(f"{self.name} answered {path} with {response.status}: {text[:300]}")
                return json.loads(text) if text else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise EngineFailed(f"{self.name} does not answer {path}: {error!r}") from error


def _refusal(status: int, text: str) -> Exception:
    """vLLM's refusal of one request: the caller's fault (too long) or the engine's."""
    if status == 400 and "context length" in text:
        detail = "the conversation is longer than the model's context"
        return Problem(422, "too_long", detail, field="text", remedy="shorten it or start a new conversation")
    return EngineFailed(f"the engine refused the request ({status}): {text[:300]}")
