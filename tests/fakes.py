"""Fakes at our own interfaces: engines that say what a test has written down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from server.engines.client import Delta, EngineClient
from server.engines.pool import EnginePool
from server.errors import EngineFailed
from store.records import ChatTurn, Sampling


@dataclass
class Script:
    """One answer: its pieces, the pause before each, and how it ends."""

    pieces: Sequence[str] = ("Hello", " there")
    pause_s: float = 0.0
    wait_s: float = 0.0
    """Pause before the first piece."""
    fails: bool = False
    """Breaks off after the pieces."""
    hangs: bool = False
    """Says nothing more after the pieces, and never ends."""
    finish_reason: str = "stop"
    gate: asyncio.Event | None = None
    """Waits for it after the first piece."""


class ScriptedEngine(EngineClient):
    """An engine client that plays its scripts in turn, then `Script()` for ever."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"unix:///nowhere/{name}.sock")
        self.scripts: deque[Script] = deque()
        self.asked: list[tuple[list[ChatTurn], Sampling]] = []
        self.aborted = 0
        self.up = True

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to close."""

    async def healthy(self) -> bool:
        return self.up

    async def count_tokens(self, messages: Sequence[ChatTurn]) -> int:
        return sum(len(turn.content.split()) for turn in messages)

    async def tokens(self, messages: Sequence[ChatTurn], *, goes_on: bool = False) -> list[int]:
        return [ord(character) for turn in messages for character in turn.content]

    async def text(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    async def stream(
        self, messages: Sequence[ChatTurn], sampling: Sampling, *, goes_on: bool = False
    ) -> AsyncGenerator[Delta, None]:
        self.asked.append((list(messages), sampling))
        script = self.scripts.popleft() if self.scripts else Script()
        ended = False
        try:
            await asyncio.sleep(script.wait_s)
            for number, piece in enumerate(script.pieces):
                await asyncio.sleep(script.pause_s)
                yield Delta(piece)
                if number == 0 and script.gate is not None:
                    await script.gate.wait()
            if script.hangs:
                await asyncio.Event().wait()
            ended = True
            if script.fails:
                raise EngineFailed(f"{self.name} broke off: out of memory")
            prompt_tokens = await self.count_tokens(messages)
            yield Delta("", script.finish_reason, prompt_tokens, len(script.pieces))
        finally:
            self.aborted += not ended


class ScriptedPool(EnginePool):
    """The real pool over scripted engines, one a version; the first version serves."""

    def __init__(self, *versions: int, places: int = 64) -> None:
        self.clients = [ScriptedEngine(f"engine-{number}") for number, _ in enumerate(versions, 1)]
        super().__init__(self.clients, max_model_len=2048, places=places)
        for engine, version in zip(self.engines, versions, strict=True):
            engine.state, engine.version = "ready", version
        self.serving = versions[0] if versions else None

    def say(self, *scripts: Script) -> None:
        """Queue answers on the first engine."""
        self.clients[0].scripts.extend(scripts)

    def go_down(self) -> None:
        for engine in self.engines:
            self.lost(engine, "it was switched off")

    def come_back(self, version: int = 1) -> None:
        for engine in self.engines:
            engine.state, engine.version = "ready", version

    @property
    def in_flight(self) -> int:
        return sum(len(engine.leases) for engine in self.engines)
