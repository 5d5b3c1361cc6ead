"""The engine pool: which engine holds which version, and who speaks on which."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from server.engines import routing
from server.engines.client import Delta, EngineClient
from server.engines.engine import Engine, Lease
from server.engines.prefix import go_on
from server.errors import EngineFailed, NoEngine, VersionNotServed
from store.records import ChatTurn, EngineState, EngineStatus, PolicyVersion, Sampling, now

SWAP_PATIENCE_S = 30.0
"""How long a new answer waits for a lone engine that takes new weights."""


class EnginePool:
    """Routes answers to engines. The reconciler moves versions about; leases pin what is under way."""

    def __init__(
        self,
        clients: Sequence[EngineClient],
        *,
        max_model_len: int,
        places: int,
        max_unavailable: int = 1,
    ) -> None:
        self.engines = [Engine(client) for client in clients]
        self.max_model_len = max_model_len
        self.places = places
        """Answers that one engine speaks at once; the queue in front of it is `server.admission`."""
        self.changed: Callable[[], None] = lambda: None
        """Called when there may be a free place."""
        self.max_unavailable = max_unavailable
        """Engines of a fleet that a rolling swap may take out at once."""
        self.wanted: int | None = None
        """The active version, which should serve."""
        self.trial: int | None = None
        """The canary, which an engine should hold beside the active version."""
        self.previous: int | None = None
        """The version that a rollback returns to."""
        self.serving: int | None = None
        """The version that new answers get."""
        self.name = ""
        """The server that this pool belongs to."""
        self.drives = False
        """This server is the one that moves versions."""
        self.failed_loads: Counter[int] = Counter()
        """Version -> loads of it that failed."""
        self.sound: dict[int, object] = {}
        """Version -> its files as they were when they were found sound."""
        self._news = asyncio.Event()

    async def open(self) -> None:
        for engine in self.engines:
            await engine.client.open()

    async def close(self) -> None:
        for engine in self.engines:
            await engine.client.close()

    @property
    def canary(self) -> int | None:
        """The canary once an engine holds it ready, else None."""
        return self.trial if self.trial is not None and self.gives(self.trial) else None

    def gives(self, version: int) -> bool:
        """Whether an engine takes new answers of the version."""
        return bool(self._holders(version))

    async def lease(self, version: int | None = None, *, user: str, affinity: str | None = None) -> Lease:
        """An engine for an answer of `version` (None: the one that serves now) that was admitted before.

        Beyond the engine's places if need be. `affinity` is the conversation: its answers go where its
        prefix is cached, unless that is much fuller. Waits while the only engine takes new weights. Raises
        NoEngine, VersionNotServed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SWAP_PATIENCE_S):
                while (engine := self._route(version, affinity)) is None:
                    self.check(version)
                    await self._news.wait()
                return self._lease(engine, user)
        raise NoEngine()

    def try_leases(
        self, versions: Sequence[int | None], *, user: str, affinity: str | None = None
    ) -> list[Lease] | None:
        """Free places for answers of these versions: all of them, or None. Raises VersionNotServed."""
        leases: list[Lease] = []
        for version in versions:
            if (engine := self._route(version, affinity, self.places)) is None:
                for lease in leases:
                    lease.engine.leases.discard(lease)
                with suppress(NoEngine):
                    self.check(version)
                return None
            leases.append(self._lease(engine, user))
        return leases

    def check(self, version: int | None) -> None:
        """Whether an answer of the version is worth waiting for. Raises VersionNotServed, NoEngine if not."""
        wanted = self.serving if version is None else version
        if wanted is not None and self._holders(wanted):
            return
        states = {engine.state for engine in self.engines}
        if version is not None and "ready" in states:
            raise VersionNotServed(f"v{version}")
        if "ready" in states or "loading" not in states:
            raise NoEngine()

    def _lease(self, engine: Engine, user: str) -> Lease:
        assert engine.version is not None
        lease = Lease(engine, engine.version, user, lambda: self.changed())
        engine.leases.add(lease)
        return lease

    def _route(self, version: int | None, affinity: str | None, places: int | None = None) -> Engine | None:
        """The engine for a new answer; with `places` one that has a free one. None: there is none."""
        wanted = self.serving if version is None else version
        if wanted is None:
            return None
        load = routing.load_by_device(self.engines)
        engine = routing.choose(self._holders(wanted, places), load, affinity)
        if version is not None or wanted != self.wanted or self.previous is None:
            return engine
        before = self._holders(self.previous, places)
        if engine is None or len(before) < 2:  # one keeps it for a rollback: no swap is rolling
            return engine
        return routing.overflow(engine, routing.choose(before, load, affinity), load)

    def _holders(self, version: int, places: int | None = None) -> list[Engine]:
        """Engines for new answers of the version; those that are to be swapped only if it must be served."""
        holders = [one for one in self.engines if one.state == "ready" and one.version == version]
        staying = [one for one in holders if not one.draining and not one.leaving]
        found = staying or (holders if version == self.serving else [])
        return [one for one in found if places is None or len(one.leases) < places]

    async def stream(
        self, lease: Lease, messages: Sequence[ChatTurn], sampling: Sampling, said: str = ""
    ) -> AsyncGenerator[Delta, None]:
        """The answer on the leased engine, or what is left of it after the text `said`.

        Closing it aborts the generation. Raises EngineFailed.
        """
        client = lease.engine.client
        generation = go_on(client, messages, sampling, said) if said else client.stream(messages, sampling)
        try:
            async for delta in generation:
                yield delta
        except EngineFailed as error:
            with suppress(TimeoutError):  # one that is silent gets more time: the reconciler decides
                if not await lease.engine.client.healthy():
                    self.lost(lease.engine, str(error))
            raise
        finally:
            await generation.aclose()

    def holds(self, engine: Engine, record: PolicyVersion, folder: Path) -> None:
        """The engine holds this version for certain and may give answers."""
        self.spans(engine, record.number)
        engine.state, engine.version, engine.error = "ready", record.number, None
        engine.record, engine.folder = record, folder
        engine.draining, engine.failures = False, 0
        self.route()

    def spans(self, engine: Engine, number: int) -> None:
        """Answers under way on the engine go on with this version."""
        for lease in engine.leases:
            if lease.versions[-1] != number:
                lease.versions += (number,)

    def unsure(self, engine: Engine, state: EngineState, error: str | None = None) -> None:
        """Nobody knows which weights the engine holds, so it gives no answers."""
        engine.state, engine.error = state, error
        engine.version, engine.record, engine.folder = None, None, None
        self.route()

    def lost(self, engine: Engine, error: str) -> None:
        """The engine does not answer: its streams end, nothing is routed to it until it is seen again."""
        if engine.alive:
            engine.alive, engine.absent_since = False, time.monotonic()
        engine.draining = False
        self.unsure(engine, "down", error)
        engine.client.abandon()

    def route(self) -> None:
        """Give new answers the active version if an engine holds it, else what there is."""
        held = self.served()
        if self.wanted in held:
            self.serving = self.wanted
        elif held and self.serving not in held:
            # The canary only when nothing else is there: it is meant for a share of the answers.
            self.serving = max(held.keys() - {self.trial} or held)
        self._news.set()
        self._news = asyncio.Event()
        self.changed()

    async def count_tokens(self, messages: Sequence[ChatTurn]) -> int:
        """Prompt tokens of these turns. Raises NoEngine."""
        for engine in self.engines:
            if engine.state in ("ready", "loading"):
                with suppress(EngineFailed):
                    return await engine.client.count_tokens(messages)
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
                draining=engine.leaving,
                device=engine.device,
                seen_at=now(),
            )
            for engine in self.engines
        ]
