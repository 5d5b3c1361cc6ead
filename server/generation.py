"""A turn under way: it waits for engines, its answers speak at once, their words leave in shared ticks.

The turn belongs to the server, not to a connection: readers come and go on the stream in the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from server.admission import Waiting
from server.drawing import speak
from server.engines.client import Delta
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from server.errors import EngineFailed, Problem
from server.events import AnswerDelta, AnswerEnd, AnswerStart, DuelReady, TurnEnd, TurnEvent, TurnWaiting
from server.leaks import find_leak
from server.metrics import Metrics
from server.shapes import why_not_votable
from server.sides import Side
from store.connection import StoreUnavailable
from store.conversations import Conversations
from store.records import Answer, ChatTurn, Duel, now
from store.streams import AnswerStream

TICK_S = 0.03
POLL_S = 0.5
RENEW_EVERY = 10  # polls
ANSWER_LIMIT_S = 600.0
PATIENCE_S = 120.0
BROKE_OFF = "the model broke off the answer"
T = TypeVar("T")
log = logging.getLogger("heed.turns")


class LiveTurn:
    """Runs the sides of one turn and writes its stream."""

    def __init__(
        self,
        stream_id: str,
        sides: Sequence[Side],
        duel: Duel | None,
        prompt: Sequence[ChatTurn],
        *,
        beside: Sequence[Answer] = (),
        waiting: Waiting,
        pool: EnginePool,
        conversations: Conversations,
        streams: AnswerStream,
        metrics: Metrics,
        owner: str,
        names: tuple[str, ...] = (),
        when_ended: Callable[[Sequence[Side]], Awaitable[None]] | None = None,
    ) -> None:
        self.id = stream_id
        self.sides = sides
        self._duel = duel
        self._prompt = prompt
        self._beside = beside
        """Of a duel: the side that ended well in an earlier try."""
        self._waiting = waiting
        self._pool = pool
        self._conversations = conversations
        self._streams = streams
        self._metrics = metrics
        self._owner = owner
        self._names = names
        self._when_ended = when_ended
        self._news = asyncio.Event()
        self._last_id = "0"

    async def begin(self) -> None:
        """Say whose turn it is: after this the stream can be followed. Raises StoreUnavailable."""
        for side in self.sides:
            await self._streams.hold(side.answer.id, self._owner)
        for side in self.sides:
            start = AnswerStart(answer_id=side.answer.id, side=side.answer.side)
            self._last_id = await self._streams.append(self.id, start.type, start.model_dump(mode="json"))

    async def run(self) -> None:
        """Speak until every side has ended and everybody who follows has been told."""
        try:
            async with asyncio.TaskGroup() as group:
                upkeep = group.create_task(self._keep())
                group.create_task(self._draw())
                await self._relay()
                upkeep.cancel()
            if self._when_ended is not None:
                await self._when_ended(self.sides)
        except asyncio.CancelledError:
            for side in self.sides:
                self._end(side, state="failed", finish_reason="error", error="the server was restarted")
            with suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(3):
                    await self._relay()
            raise
        finally:
            await self._waiting.leave()

    def stop(self, answer_id: str) -> None:
        """End one answer now; what it has said stays."""
        for side in self.sides:
            if side.answer.id == answer_id and side.outcome is None and not side.stopping:
                side.stopping = True
                if side.cutoff is not None:
                    side.cutoff.reschedule(asyncio.get_running_loop().time())

    async def _draw(self) -> None:
        """Wait for the engines, then draw every answer."""
        try:
            told = None
            async for ahead in self._waiting.looks():
                if all(side.stopping for side in self.sides):
                    await self._waiting.leave()
                    for side in self.sides:
                        self._end(side, state="stopped", finish_reason="stopped")
                    return
                if ahead != told:
                    told = ahead
                    await self._append(TurnWaiting(ahead=ahead))
            leases = await self._waiting.leases()
        except Problem as problem:
            for side in self.sides:
                self._fail(side, problem.detail)
            return
        for side in self.sides:
            planned = side.answer
            side.begin(leases[side.place])
            if side.answer != planned:
                await self._patiently(self._conversations.save_answer, side.answer)
        async with asyncio.TaskGroup() as group:
            for side in self.sides:
                group.create_task(self._speak(side, leases[side.place]))

    async def _speak(self, side: Side, lease: Lease) -> None:
        """Draw one answer; whatever goes wrong becomes its outcome."""
        answer = side.answer
        words = speak(
            self._pool,
            lease,
            self._prompt,
            answer.sampling,
            version=answer.policy_version,
            user=lease.user,
            said=side.said,
        )
        try:
            async with (
                asyncio.timeout(0 if side.stopping else ANSWER_LIMIT_S) as side.cutoff,
                aclosing(words),
            ):
                async for delta, current in words:
                    if current is not side.lease:
                        side.begin(current)  # another engine of the same version has taken over
                    self._hear(side, delta)
            if side.outcome is None:
                self._fail(side, BROKE_OFF)
        except TimeoutError:
            if side.stopping:
                self._end(side, state="stopped", finish_reason="stopped")
            else:
                self._fail(side, f"the answer took longer than {ANSWER_LIMIT_S:.0f} s")
        except EngineFailed as error:
            # Its own words name an engine, which could tell two blind answers apart.
            log.warning("answer %s: %s", answer.id, error)
            self._fail(side, BROKE_OFF)
        except Problem as problem:
            self._fail(side, problem.detail)
        except Exception:
            log.exception("answer %s", answer.id)
            self._fail(side, "something unexpected went wrong")

    def _hear(self, side: Side, delta: Delta) -> None:
        if delta.text:
            self._metrics.first_word(side.answer, first=not side.said)
            side.hear(delta.text)
            self._news.set()
        if delta.finish_reason is not None:
            self._metrics.answered(side.answer.policy_version, delta.response_tokens)
            self._end(
                side,
                state="finished",
                finish_reason=delta.finish_reason,
                prompt_tokens=delta.prompt_tokens,
                response_tokens=delta.response_tokens,
            )

    def _fail(self, side: Side, error: str) -> None:
        self._end(side, state="failed", finish_reason="error", error=error)

    def _end(self, side: Side, **changes: Any) -> None:
        if side.outcome is None:
            changes |= {"text": side.said, "versions": side.made_by(), "ended_at": now()}
            changes["leak"] = find_leak(side.said, self._names)
            side.outcome = side.answer.model_copy(update=changes)
            self._metrics.ended(side.outcome.state)
        self._news.set()

    async def _relay(self) -> None:
        """Write words and ends to the stream, in ticks that both sides share."""
        while not all(side.told for side in self.sides):
            await self._news.wait()
            self._news.clear()
            await self._send_words()
            await self._tell_ends()
            await asyncio.sleep(TICK_S)
        outcomes = [side.outcome for side in self.sides if side.outcome is not None]
        if self._duel is not None and why_not_votable([*outcomes, *self._beside]) is None:
            await self._append(DuelReady(duel_id=self._duel.id))
        await self._append(TurnEnd())
        await self._patiently(self._streams.finish, self.id)
        for side in self.sides:
            await self._patiently(self._streams.release, side.answer.id)

    async def _send_words(self) -> None:
        reach = self._reach()
        for side in self.sides:
            if text := side.said[side.sent : reach]:
                side.sent += len(text)
                await self._append(AnswerDelta(answer_id=side.answer.id, text=text))

    def _reach(self) -> int | None:
        """How much of each text may be shown; None: all of it.

        In a duel the sides keep step, character by character: the faster one would give its version away.
        """
        ended = [side.outcome for side in self.sides if side.outcome is not None]
        if len(ended) == len(self.sides) or any(outcome.state != "finished" for outcome in ended):
            return None
        return min(len(side.said) for side in self.sides if side.outcome is None)

    async def _tell_ends(self) -> None:
        """Save what has ended, then say so: who hears of the end may vote at once.

        In a duel two finished sides are told together, for the same reason as their words.
        """
        ended = [
            side for side in self.sides if side.outcome and not side.told and side.sent == len(side.said)
        ]
        if self._duel is not None and any(side.outcome is None for side in self.sides):
            ended = [side for side in ended if side.outcome and side.outcome.state != "finished"]
        outcomes = [side.outcome for side in ended if side.outcome]
        for outcome in outcomes:
            await self._patiently(self._conversations.save_answer, outcome)
        for side, outcome in zip(ended, outcomes, strict=True):
            await self._append(
                AnswerEnd(
                    answer_id=outcome.id,
                    state=outcome.state,
                    finish_reason=outcome.finish_reason,
                    error=outcome.error,
                )
            )
            side.told = True

    async def _keep(self) -> None:
        """Show that this server still writes these answers, and hear stops that came to other replicas."""
        polls = 0
        while not all(side.told for side in self.sides):
            await asyncio.sleep(POLL_S)
            polls += 1
            with suppress(StoreUnavailable):
                for side in self.sides:
                    if side.outcome is None and await self._streams.stop_requested(side.answer.id):
                        self.stop(side.answer.id)
                    if polls % RENEW_EVERY == 0:
                        await self._streams.hold(side.answer.id, self._owner)

    async def _append(self, event: TurnEvent) -> None:
        """Add one event exactly once. Redis may be away meanwhile; StoreUnavailable after two minutes."""
        data = event.model_dump(mode="json")
        try:
            self._last_id = await self._streams.append(self.id, event.type, data)
        except StoreUnavailable:
            # The answer to the write may have been lost, not the write: look before writing again.
            await asyncio.sleep(POLL_S)
            if not await self._patiently(self._is_there, data):
                await self._append(event)

    async def _is_there(self, data: dict[str, Any]) -> bool:
        async for entry in self._streams.read(self.id, self._last_id):
            if entry is not None and entry.data == data:
                self._last_id = entry.id
                return True
            return False
        return False

    async def _patiently(self, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Repeat a call that may run twice until the store is back. Raises StoreUnavailable in the end."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await call(*arguments)
            except StoreUnavailable as error:
                log.warning("turn %s waits: %s", self.id, error)
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_S)
