"""Who speaks next: what the engines have no place for waits, and the people who wait take turns.

A person with a hundred requests and one with a single request are served one each, turn by turn, so nobody
can starve the others; in a full queue the longest line loses its last one (fair queueing with longest queue
drop: McKenney, "Stochastic fairness queueing", INFOCOM 1990). A request takes all its places at once or none:
two duels can never hold one place each and wait for the other's. What is under way is what the engines'
leases say, so there is no count beside them that could go wrong.

Each server admits for itself: the places of an engine are counted per server.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from server.engines.engine import Lease
from server.engines.pool import EnginePool
from server.errors import NoEngine, Problem, QueueFull
from server.metrics import Metrics
from server.settings import QueueConfig

LOOK_S = 0.25
PATIENCE_S = 120.0
"""Longest wait in the queue: an engine that died is back in less."""
RATE_WINDOW_S = 30.0
RETRY_S = 5
RETRY_MOST_S = 120

Versions = Callable[[], Sequence[int | None]]
"""The versions of a request's answers (None: the one that serves), asked whenever there may be places."""


class Waiting:
    """One request, from the queue to its leases."""

    def __init__(self, admission: Admission, user: str, versions: Versions, affinity: str | None) -> None:
        self.user = user
        self.versions = versions
        self.affinity = affinity
        self.since = admission.clock()
        self.queued = False
        """It had to wait."""
        self.granted: asyncio.Future[list[Lease]] = asyncio.get_running_loop().create_future()
        self._admission = admission

    def planned(self) -> list[int]:
        """The versions that it gets as things are now. Raises NoEngine when there is none yet."""
        if self.granted.done():
            return [lease.version for lease in self.granted.result()]
        return self._admission.resolved(self.versions())

    async def looks(self) -> AsyncIterator[int]:
        """How many requests go first, a few times a second until the leases are there.

        Raises Problem when they will not be. Whoever stops looking must `leave`.
        """
        while True:
            await asyncio.wait({self.granted}, timeout=LOOK_S)
            if self.granted.done():
                self.granted.result()
                return
            if self._admission.clock() - self.since > PATIENCE_S:
                await self.leave()
                raise self._admission.refusal(f"no engine had a place within {PATIENCE_S:.0f} s")
            yield self._admission.ahead(self)

    async def leases(self) -> list[Lease]:
        """The leases, when it is this request's turn. Raises Problem. Whoever stops waiting must `leave`."""
        async for _ in self.looks():
            pass
        return self.granted.result()

    async def leave(self) -> None:
        """Give up the place in the queue, or the leases that came of it; again is no change."""
        if not self.granted.done():
            self.granted.cancel()
            self._admission.forget(self)
        elif not self.granted.cancelled() and self.granted.exception() is None:
            for lease in self.granted.result():
                await lease.release()


class DrainRate:
    """How fast the queue moves: requests that left it for an engine, per second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._served: deque[float] = deque(maxlen=1000)

    def count(self) -> None:
        self._served.append(self._clock())

    def seconds_for(self, requests: int) -> int:
        """When so many requests will have been served, as Retry-After says it: whole seconds, 1 to 120."""
        at = self._clock()
        while self._served and at - self._served[0] > RATE_WINDOW_S:
            self._served.popleft()
        if not self._served:
            return RETRY_S
        per_s = len(self._served) / max(at - self._served[0], 1.0)
        return min(RETRY_MOST_S, max(1, math.ceil(requests / per_s)))


class Admission:
    """Hands the engines' places to requests. One per server."""

    def __init__(
        self,
        pool: EnginePool,
        config: QueueConfig,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._pool = pool
        self._config = config
        self._metrics = metrics
        self._rate = DrainRate(clock)
        self._lines: dict[str, deque[Waiting]] = {}
        """What each person waits for, oldest first; the people in the order of their turns."""
        pool.changed = self._serve
        metrics.queue.set_function(lambda: self.length)

    @property
    def length(self) -> int:
        """Requests that wait."""
        return sum(map(len, self._lines.values()))

    def enter(self, user: str, versions: Versions, affinity: str | None = None) -> Waiting:
        """Get in line; a free place is taken right away. `affinity`: the conversation, as for a lease.

        Raises QueueFull, and NoEngine or VersionNotServed when waiting would be in vain.
        """
        for version in versions():
            self._pool.check(version)
        waiting = Waiting(self, user, versions, affinity)
        self._lines.setdefault(user, deque()).append(waiting)
        self._serve()
        waiting.queued = not waiting.granted.done()
        if self.length > self._config.length:
            self._drop_one(waiting)
        return waiting

    def ahead(self, waiting: Waiting) -> int:
        """How many of the others who wait now are served before this request."""
        mine = self._lines[waiting.user].index(waiting)
        ahead, before_me = mine, True
        for user, line in self._lines.items():
            if user == waiting.user:
                before_me = False
            else:
                # Whose turn comes before mine is served once more than I was.
                ahead += min(len(line), mine + before_me)
        return ahead

    def resolved(self, versions: Sequence[int | None]) -> list[int]:
        """The same with the number of the version that serves. Raises NoEngine."""
        serving = self._pool.serving or self._pool.wanted
        numbers = [serving if version is None else version for version in versions]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            raise NoEngine()
        return known

    def forget(self, waiting: Waiting) -> None:
        """Take a request out of the queue; those behind it may be able to go on."""
        self._remove(waiting)
        self._serve()

    def refusal(self, why: str) -> QueueFull:
        """What somebody hears who waited in vain, or may not wait."""
        return QueueFull(why, self._rate.seconds_for(max(1, self.length)))

    def _serve(self) -> None:
        """Give free places to those who wait, one request a person and round."""
        turns = deque(self._lines)
        claimed: set[int | None] = set()
        while turns:
            user = turns.popleft()
            waiting = self._lines[user][0]
            try:
                versions = tuple(waiting.versions())
                if not self._may(user, len(versions)):
                    continue
                places = {self._pool.serving if version is None else version for version in versions}
                leases = None
                if claimed.isdisjoint(places):
                    leases = self._pool.try_leases(versions, user=user, affinity=waiting.affinity)
                if leases is None:
                    # What it needs is kept for it: smaller requests behind it would take that for ever.
                    claimed |= places
                    continue
                self._remove(waiting)
                waiting.granted.set_result(leases)
                if waiting.queued:
                    self._rate.count()
                self._metrics.waited(self.clock() - waiting.since)
            except Problem as problem:
                self._remove(waiting)
                waiting.granted.set_exception(problem)
            if user in self._lines:
                self._lines[user] = self._lines.pop(user)  # the others first
                turns.append(user)

    def _may(self, user: str, answers: int) -> bool:
        """Whether so many more answers of this person may be under way. A first request always may."""
        under_way = sum(lease.user == user for engine in self._pool.engines for lease in engine.leases)
        return under_way == 0 or under_way + answers <= self._config.per_user

    def _drop_one(self, newcomer: Waiting) -> None:
        """The longest line loses its last one. Raises QueueFull when that is the newcomer."""
        longest = max(self._lines, key=lambda user: (len(self._lines[user]), user == newcomer.user))
        loser = self._lines[longest][-1]
        self._remove(loser)
        problem = self.refusal(f"{self._config.length} requests wait, more of yours than of anybody else's")
        loser.granted.set_exception(problem)
        if loser is newcomer:
            loser.granted.exception()  # it is told here and now
            raise problem

    def _remove(self, waiting: Waiting) -> None:
        line = self._lines[waiting.user]
        line.remove(waiting)
        if not line:
            del self._lines[waiting.user]
