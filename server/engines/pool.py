"""The engine pool: which engine holds which version, and who speaks on which."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.engines.client import Delta, EngineClient
from server.errors import EngineFailed, NoEngine, QueueFull, VersionNotServed
from store.records import ChatTurn, EngineState, EngineStatus, Sampling, now


@dataclass
class Engine:
    """One engine and what the pool knows of it."""

    client: EngineClient
    state: EngineState = "starting"
    version: int | None = None
    folder: Path | None = None
    error: str | None = None
    leases: set[Lease] = field(default_factory=set)
    draining: bool = False
    """No new answers: the reconciler waits for the last one to end before it swaps this engine."""

    @property
    def name(self) -> str:
        return self.client.name


class Lease:
    """The right to one answer from one engine. `versions` grows if the engine is swapped meanwhile."""

    def __init__(self, engine: Engine, version: int, user: str) -> None:
        self.engine = engine
        self.version = version
        self.versions: tuple[int, ...] = (version,)
        self.user = user

    async def release(self) -> None:
        self.engine.leases.discard(self)


class EnginePool:
    """Routes answers to engines. The reconciler moves versions about; leases pin what is under way."""

    def __init__(
        self, clients: Sequence[EngineClient], *, max_model_len: int, queue_limit: int, per_user: int
    ) -> None:
        self.engines = [Engine(client) for client in clients]
        self.max_model_len = max_model_len
        self.opened_at = time.monotonic()
        self.serving: int | None = None
        """The version that new answers get."""
        self._queue_limit = queue_limit
        self._per_user = per_user

    async def open(self) -> None:
        for engine in self.engines:
            await engine.client.open()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.client.close()

    async def lease(self, version: int | None = None, *, user: str) -> Lease:
        """An engine for one answer of `version` (None: the one that serves now).

        Raises NoEngine, VersionNotServed, QueueFull.
        """
        leases = [lease for engine in self.engines for lease in engine.leases]
        if len(leases) >= self._queue_limit:
            raise QueueFull(f"{len(leases)} answers are under way, the limit is {self._queue_limit}")
        if Counter(lease.user for lease in leases)[user] >= self._per_user:
            raise QueueFull(f"{self._per_user} of your answers are under way, which is the limit")
        wanted = self.serving if version is None else version
        holders = [engine for engine in self.engines if engine.state == "ready" and engine.version == wanted]
        if not holders or wanted is None:
            if version is not None and any(engine.state == "ready" for engine in self.engines):
                raise VersionNotServed(f"v{version}")
            raise NoEngine()
        engine = min(holders, key=lambda holder: (holder.draining, len(holder.leases)))
        lease = Lease(engine, wanted, user)
        engine.leases.add(lease)
        return lease

    async def stream(
        self, lease: Lease, messages: Sequence[ChatTurn], sampling: Sampling
    ) -> AsyncGenerator[Delta, None]:
        """The answer on the leased engine. Closing it aborts the generation. Raises EngineFailed."""
        generation = lease.engine.client.stream(messages, sampling)
        try:
            async for delta in generation:
                yield delta
        except EngineFailed as error:
            if not await lease.engine.client.healthy():
                self.lost(lease.engine, str(error))
            raise
        finally:
            await generation.aclose()

    def lost(self, engine: Engine, error: str) -> None:
        """The engine does not answer: nothing is routed to it until it is seen again."""
        engine.state, engine.version, engine.folder, engine.error = "down", None, None, error

    async def count_tokens(self, messages: Sequence[ChatTurn]) -> int:
        """Prompt tokens of these turns. Raises NoEngine."""
        for engine in self.engines:
            if engine.state in ("ready", "loading"):
                try:
                    return await engine.client.count_tokens(messages)
                except EngineFailed:
                    continue
        raise NoEngine()

    def served(self) -> dict[int, str]:
        """Versions that can be asked for -> the engine that holds them."""
        return {
            engine.version: engine.name
            for engine in self.engines
            if engine.state == "ready" and engine.version is not None
        }

    def statuses(self) -> list[EngineStatus]:
        return [
            EngineStatus(
                name=engine.name,
                address=engine.client.address,
                state=engine.state,
                version=engine.version,
                in_flight=len(engine.leases),
                error=engine.error,
                seen_at=now(),
            )
            for engine in self.engines
        ]
