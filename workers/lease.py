"""The lease of a run, renewed while the work goes on, and patience while Redis is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Protocol, TypeVar

from store.connection import StoreUnavailable
from store.runs import Claim, Runs, StaleClaim

T = TypeVar("T")
Verdict = Literal["ok", "cancel", "lost"]

PATIENCE_S = 600
RETRY_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Cancelled(Exception):
    """Somebody asked the run to stop."""


async def patiently(call: Callable[[], Awaitable[T]], patience_s: float = PATIENCE_S) -> T:
    """The result of `call`, tried again each second while Redis is away; hours of training wait for it.

    `call` must bear being run twice: the first try may have been done although its answer was lost.
    Raises StoreUnavailable after `patience_s`.
    """
    waited_s = 0.0
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if waited_s >= patience_s:
                raise
            logger.warning("waiting for Redis: %s", error)
            await asyncio.sleep(RETRY_EVERY_S)
            waited_s += RETRY_EVERY_S


class Leash(Protocol):
    """Who may stop a child: the lease of a run, or whoever lets it work only while nobody needs the room."""

    redis_errors: int

    @property
    def name(self) -> str:
        """What the child works on."""

    async def stopped(self) -> Verdict:
        """Wait until the child must stop."""
        ...


class Lease:
    """Keeps a claim alive in the background: `async with Lease(runs, claim) as lease`.

    Redis being away costs nothing but a count in `redis_errors`: a lease that ran out meanwhile is taken
    again as long as nobody else took the run.
    """

    def __init__(self, runs: Runs, claim: Claim) -> None:
        self.claim = claim
        self.redis_errors = 0
        self._runs = runs
        self._verdict: Verdict = "ok"
        self._stopped = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.claim.run_id

    async def __aenter__(self) -> Lease:
        self._renewal = asyncio.create_task(self._renew_for_ever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._renewal is not None
        self._renewal.cancel()
        await asyncio.gather(self._renewal, return_exceptions=True)

    async def stopped(self) -> Verdict:
        """Wait until the run must stop: `cancel` or `lost`."""
        await self._stopped.wait()
        return self._verdict

    async def confirm(self) -> None:
        """Ask now, before a write that others see. Raises Cancelled, or StaleClaim when the run is lost."""
        await patiently(self._renew)
        self.check()

    def check(self) -> None:
        """What the last renewal said. Raises Cancelled, or StaleClaim when the run is lost."""
        if self._verdict == "lost":
            raise StaleClaim(f"{self.claim.run_id}: another worker has it")
        if self._verdict == "cancel":
            raise Cancelled(self.claim.run_id)

    async def _renew(self) -> None:
        verdict = await self._runs.renew(self.claim)
        # `lost` is final, and a cancel may still turn into it.
        if self._verdict == "ok" or verdict == "lost":
            self._verdict = verdict
        if verdict != "ok":
            self._stopped.set()

    async def _renew_for_ever(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            try:
                await self._renew()
            except StoreUnavailable as error:
                self.redis_errors += 1
                logger.warning("lease of %s not renewed: %s", self.claim.run_id, error)
            except Exception:
                logger.exception("lease of %s cannot be renewed: giving the run up", self.claim.run_id)
                self._verdict = "lost"
                self._stopped.set()
                return
            if task.cancelling():
                return  # the client waits with `wait_for`, which in Python 3.11 can swallow a cancel
            await asyncio.sleep(self.claim.lease_s / 3)
