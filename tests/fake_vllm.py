"""A fake vLLM: its HTTP calls on a Unix socket, weights that are a folder's name, and ways to go wrong.

`python -m tests.fake_vllm SOCKET ROOT` is one in a process of its own, which can be killed.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from aiohttp import web


class FakeVllm:
    """Answers every greedy prompt with its weights' number, and streams words that name its weights."""

    def __init__(self, socket: Path, root: Path) -> None:
        self.socket = socket
        self.root = root
        self.calls: list[str] = []
        """Control calls and greedy questions, in order."""
        self.bodies: list[dict[str, Any]] = []
        """Of the streams."""
        self.computes_nan: set[str] = set()
        """Weights that turn every log-probability into NaN, and leave NaN in the KV cache."""
        self.refuses: set[str] = set()
        """Weights that end a reload half-way."""
        self.keeps_old: set[str] = set()
        """Weights whose reload leaves a tensor of the ones before."""
        self.half_letters: set[int] = set()
        """Words of a stream, by number, that are no text by themselves yet."""
        self.word_s = 0.0
        """Time that a word of a stream takes."""
        self.load_s = 0.0
        """Time that a reload takes."""
        self.mumbles: dict[str, int] = {}
        """Weights -> how many of its greedy answers come out differently."""
        self.gate = asyncio.Event()
        """Streams say one word, then wait for it."""
        self.words: list[str] = []
        self.silent = False
        self.others = 0
        """Answers that other servers have under way here."""
        self._runner: web.AppRunner | None = None
        self._fresh()

    def _fresh(self) -> None:
        self.weights = self.root.name
        self.label = "default"
        self.spoiled = False
        self.in_flight = 0
        self._running = asyncio.Event()
        self._running.set()

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    async def start(self) -> None:
        """A new process on its root folder."""
        self._fresh()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def die(self) -> None:
        """As by kill -9: every connection breaks, then nobody listens."""
        if self._runner is not None:
            server = self._runner.server
            assert server is not None
            for connection in server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.silent:
            await asyncio.Event().wait()
        body = json.loads(await request.text() or "{}")
        match request.path:
            case "/health":
                return web.Response()
            case "/weight_info":
                return web.json_response({"weight_version": self.label})
            case "/v1/models":
                return web.json_response({"data": [{"root": str(self.root)}]})
            case "/load":
                return web.json_response({"server_load": self.in_flight + self.others})
            case "/tokenize":
                tokens = self._tokens("".join(turn["content"] + " " for turn in body["messages"][:-1]))
                tokens += self._tokens(body["messages"][-1]["content"])
                return web.json_response({"count": len(tokens), "tokens": tokens})
            case "/detokenize":
                return web.json_response({"prompt": "".join(self.words[one] for one in body["tokens"])})
            case "/v1/chat/completions" if body.get("stream"):
                return await self._stream(request, body)
            case "/v1/chat/completions":
                return self._greedy(body)
        if (body or {}).get("method") == "reload_weights":
            await asyncio.sleep(self.load_s)
        if (body or {}).get("method") == "end_process":
            self.calls.append("end_process")
            self._ending = asyncio.create_task(self.die())
        return self._control(request, body)

    def _control(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        match request.path:
            case "/update_weight_version":
                self.label = body["new_version"]
                self.calls.append(self.label)
            case "/collective_rpc" if body["method"] == "clear_kv_cache":
                assert self.paused
                self.spoiled = False
                self.calls.append("clear_kv_cache")
            case "/collective_rpc" if body["method"] == "compare_weights":
                folder = Path(body["kwargs"]["weights_path"]).name
                wrong = folder != self.weights or folder in self.keeps_old
                differ = ["lm_head.weight"] if wrong else []
                return web.json_response({"results": [{"compared": 1, "differ": differ}]})
            case "/collective_rpc" if body["method"] == "reload_weights":
                folder = Path(body["kwargs"]["weights_path"]).name
                self.calls.append(f"reload {folder}")
                if folder in self.refuses:
                    self.weights = f"half of {folder}"
                    return web.json_response({"error": "shape mismatch"}, status=500)
                self.weights = folder
            case "/pause":
                assert request.query == {"mode": "keep", "clear_cache": "true"}
                self._running.clear()
                self.calls.append("pause")
            case "/resume":
                self._running.set()
                self.calls.append("resume")
            case "/reset_prefix_cache" as path:
                self.calls.append(path.strip("/"))
        return web.json_response({"results": [None]})

    def _greedy(self, body: dict[str, Any]) -> web.Response:
        self.calls.append("greedy")
        self.spoiled = self.spoiled or self.weights in self.computes_nan
        if self.spoiled:
            message = "Out of range float values are not JSON compliant"
            return web.json_response({"error": {"message": message}}, status=400)
        wrong = self.mumbles.get(self.weights, 0)
        self.mumbles[self.weights] = max(0, wrong - 1)
        ids = [int(self.weights.lstrip("v")) if not wrong else 0] * body["max_tokens"]
        logprobs = {"content": [{"logprob": -0.5} for _ in ids]}
        return web.json_response({"choices": [{"token_ids": ids, "logprobs": logprobs}]})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.bodies.append(body)
        length = body.get("max_completion_tokens") or body["max_tokens"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if any(int(token) >= 1000 for token in body.get("logit_bias", ())):
            message = "token_id(s) [1000] in logit_bias contain out-of-vocab token ids."
            await self._send(response, {"error": {"message": message, "code": 400}})
            return response
        self.in_flight += 1
        try:
            for word in range(length):
                await self._running.wait()
                text = "" if word in self.half_letters else self.weights + " "
                choice: dict[str, Any] = {"delta": {"content": text}, "finish_reason": None}
                if body.get("logprobs"):
                    choice["logprobs"] = {"content": [self._logprob(body["top_logprobs"])]}
                await self._send(response, {"choices": [choice]})
                await asyncio.sleep(self.word_s)
                if word == 0:
                    await self.gate.wait()
            await self._send(response, {"choices": [{"delta": {}, "finish_reason": "length"}]})
            usage = {"prompt_tokens": 3, "completion_tokens": length}
            await self._send(response, {"choices": [], "usage": usage})
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.in_flight -= 1
        return response

    def _tokens(self, text: str) -> list[int]:
        """One token a word with the blanks after it."""
        words = re.findall(r"\s+|\S+\s*", text)
        self.words += [word for word in words if word not in self.words]
        return [self.words.index(word) for word in words]

    def _logprob(self, top: int) -> dict[str, Any]:
        token = {"token": self.weights, "logprob": -0.5, "bytes": list(self.weights.encode())}
        return token | {"top_logprobs": [token] * top}

    async def _send(self, response: web.StreamResponse, chunk: dict[str, Any]) -> None:
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


async def _serve(socket: Path, root: Path, word_s: float) -> None:
    engine = FakeVllm(socket, root)
    engine.word_s, engine.load_s = word_s, 0.1
    engine.gate.set()
    await engine.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2]), float((sys.argv[3:] or ["0.02"])[0])))
