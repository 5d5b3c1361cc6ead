"""Streams followed by many over one connection: a page that waits holds no connection and asks nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from store.connection import Redis, available

BLOCK_MS = 1000  # below the socket's time-out
SILENCE_S = 5.0
AT_ONCE = 500
WAKE_S = 0.01

Row = tuple[str, dict[str, str]]
Inbox = asyncio.Queue["Row | Exception | None"]
"""Rows as they come; None: there were too many for a slow follower, who finds them in the stream."""


class Entry(NamedTuple):
    """One event of a stream; `id` is the SSE id that a reconnect continues from."""

    id: str
    event: str
    data: dict[str, Any]


class Tail:
    """Waits for all followed streams in one blocked read, and hands each follower what is its own."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._inboxes: dict[str, set[Inbox]] = {}
        self._positions: dict[str, str] = {}
        """Stream -> id up to which its followers have been handed everything."""
        self._asked: frozenset[str] = frozenset()
        """The streams of the read that is blocked now."""
        self._client_id: int | None = None
        self._waiting: asyncio.Task[None] | None = None
        """Who reads for everybody; one that was told to stop is it no more, though it may take a while."""

    async def follow(self, key: str, after: str) -> AsyncGenerator[Entry | None, None]:
        """Entries after `after` for ever; None whenever nothing came for 5 s (a chance for a heartbeat).

        Raises StoreUnavailable.
        """
        inbox: Inbox = asyncio.Queue()
        self._add(key, inbox, after)
        try:
            while True:
                # What is there already. What comes meanwhile is in the inbox too: its id tells.
                while rows := await self._there(key, after):
                    for row in rows:
                        after = row[0]
                        yield _entry(row)
                await self._wake(key)
                async with aclosing(self._news(inbox, after)) as news:
                    async for entry in news:
                        after = entry.id if entry else after
                        yield entry
        finally:
            self._drop(key, inbox)

    async def _news(self, inbox: Inbox, after: str) -> AsyncGenerator[Entry | None, None]:
        """What comes into the inbox, until that could not take it all."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    item = await inbox.get()
            except TimeoutError:
                yield None
                continue
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            if _position(item[0]) > _position(after):
                after = item[0]
                yield _entry(item)

    def _add(self, key: str, inbox: Inbox, after: str) -> None:
        self._inboxes.setdefault(key, set()).add(inbox)
        self._positions.setdefault(key, after)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._wait())

    def _drop(self, key: str, inbox: Inbox) -> None:
        self._inboxes[key].discard(inbox)
        if not self._inboxes[key]:
            del self._inboxes[key], self._positions[key]
        if not self._inboxes and self._waiting is not None:
            self._waiting.cancel()
            self._nobody_waits()

    def _nobody_waits(self) -> None:
        self._waiting, self._asked, self._client_id = None, frozenset(), None

    async def _there(self, key: str, after: str) -> list[Row]:
        with available():
            answer = await self._redis.xread({key: after}, count=AT_ONCE)
        return list(answer[0][1]) if answer else []

    async def _wake(self, key: str) -> None:
        """Have the blocked read begin again with this stream among the others."""
        while key not in self._asked and self._waiting is not None:
            if self._client_id is not None:
                with available(), suppress(ResponseError):  # a service may forbid it: a second later, then
                    await self._redis.client_unblock(self._client_id)
            await asyncio.sleep(WAKE_S)

    async def _wait(self) -> None:
        """Read until nobody follows anything; an error goes to everybody."""
        me = asyncio.current_task()
        try:
            with available():
                async with self._redis.client() as connection:
                    client_id = await connection.client_id()
                    while self._waiting is me:
                        self._client_id, self._asked = client_id, frozenset(self._positions)
                        answer = await connection.xread(dict(self._positions), count=AT_ONCE, block=BLOCK_MS)
                        for key, rows in answer or () if self._waiting is me else ():
                            self._hand_out(key, rows)
        except Exception as error:
            if self._waiting is me:
                self._nobody_waits()
                for inbox in [inbox for inboxes in self._inboxes.values() for inbox in inboxes]:
                    inbox.put_nowait(error)

    def _hand_out(self, key: str, rows: list[Row]) -> None:
        if key in self._positions:
            self._positions[key] = rows[-1][0]
            for inbox in self._inboxes[key]:
                if inbox.qsize() + len(rows) > AT_ONCE:
                    while not inbox.empty():
                        inbox.get_nowait()
                    inbox.put_nowait(None)
                for row in rows:
                    inbox.put_nowait(row)


def _entry(row: Row) -> Entry:
    return Entry(row[0], row[1]["event"], json.loads(row[1]["data"]))


def _position(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
