"""One engine as this server knows it, and the right to an answer from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from server.engines.client import EngineClient
from store.records import EngineState, PolicyVersion


@dataclass(eq=False)
class Engine:
    """One engine and what this server knows of it."""

    client: EngineClient
    state: EngineState = "starting"
    version: int | None = None
    """The version that it holds for certain."""
    record: PolicyVersion | None = None
    folder: Path | None = None
    error: str | None = None
    leases: set[Lease] = field(default_factory=set)
    target: int | None = None
    """The version that is loaded into it now."""
    draining: bool = False
    """New answers go to another engine if one holds the same version: this one is to be swapped."""
    drained_at: float = 0.0
    """When it began to drain (monotonic)."""
    joined: bool = False
    """It is in the registry of engines, not in the settings."""
    leaving: bool = False
    """An admin asked that it gets no new answers, and no versions either."""
    alive: bool = False
    busy: bool = False
    """This server is swapping or checking it: what `look` sees meanwhile does not count."""
    swaps: int = 0
    """How often this server began to load it: a look that began before the last time does not count."""
    absent_since: float = field(default_factory=time.monotonic)
    """When it stopped to answer; means nothing while it is alive."""
    seeing: asyncio.Task[None] | None = None
    """The look at it that is under way, or was the last."""
    silences: int = 0
    failures: int = 0
    """Loads that failed, one after the other."""
    retry_at: float = 0.0
    """Not loaded again before (monotonic)."""

    @property
    def name(self) -> str:
        return self.client.name

    @property
    def device(self) -> str:
        return self.client.device


class Lease:
    """The right to one answer from one engine. `versions` grows if the engine is swapped meanwhile."""

    def __init__(
        self, engine: Engine, version: int, user: str, freed: Callable[[], None] = lambda: None
    ) -> None:
        self.engine = engine
        self.version = version
        self.versions: tuple[int, ...] = (version,)
        self.user = user
        self._freed = freed

    async def release(self) -> None:
        if self in self.engine.leases:
            self.engine.leases.discard(self)
            self._freed()
