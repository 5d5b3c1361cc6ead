"""Streams that browsers follow: the events of a turn, and the feed of the admin page."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from store import keys
from store.connection import Redis, available
from store.tail import Entry as Entry
from store.tail import Tail

AFTER_END_S = 15 * 60
AT_MOST_S = 24 * 3600
FEED_LENGTH = 2000

# A stream whose server died before its end must not stay for ever.
# KEYS: stream. ARGV: event, data, seconds.
_APPEND = """
local entry = redis.call('XADD', KEYS[1], '*', 'event', ARGV[1], 'data', ARGV[2])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return entry
"""

# KEYS: who generates each answer, then the stop of each. ARGV: owner, seconds.
_CLAIM = """
local count = #KEYS / 2
for i = 1, count do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
for i = 1, count do
  redis.call('SET', KEYS[i], ARGV[1], 'EX', ARGV[2])
  redis.call('DEL', KEYS[count + i])
end
return 1
"""


# KEYS: who generates an answer. ARGV: owners.
_DROP = """
local owner = redis.call('GET', KEYS[1])
for i = 1, #ARGV do
  if owner == ARGV[i] then return redis.call('DEL', KEYS[1]) end
end
return 0
"""


class AnswerStream:
    """The events of one turn, written by the server that generates, read by any number of tabs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append = redis.register_script(_APPEND)
        self._claim = redis.register_script(_CLAIM)
        self._drop = redis.register_script(_DROP)
        self._tail = Tail(redis)

    async def append(self, stream_id: str, event: str, data: dict[str, Any]) -> str:
        """Add one event; returns its id."""
        with available():
            args = [event, json.dumps(data, allow_nan=False), AT_MOST_S]
            return str(await self._append(keys=[keys.answer_stream(stream_id)], args=args))

    def read(self, stream_id: str, after: str = "0") -> AsyncGenerator[Entry | None, None]:
        """Entries after the id `after` for ever; None after each 5 s of silence."""
        return self._tail.follow(keys.answer_stream(stream_id), after)

    async def has_more(self, stream_id: str, after: str) -> bool:
        """Whether there are entries after this id now."""
        with available():
            return bool(await self._redis.xrange(keys.answer_stream(stream_id), min=f"({after}", count=1))

    async def ended(self, stream_id: str) -> bool:
        """Whether the turn's last event is there, or the stream is gone."""
        with available():
            last = await self._redis.xrevrange(keys.answer_stream(stream_id), count=1)
        return not last or last[0][1]["event"] == "turn.end"

    async def exists(self, stream_id: str) -> bool:
        with available():
            return bool(await self._redis.exists(keys.answer_stream(stream_id)))

    async def begun(self, stream_id: str) -> bool:
        """Whether words were sent: in a duel the first words of both sides leave together."""
        with available():
            first = await self._redis.xrange(keys.answer_stream(stream_id), count=8)
        return any(fields["event"] == "answer.delta" for _, fields in first)

    async def finish(self, stream_id: str) -> None:
        """Keep the finished stream for a quarter of an hour: late reconnects still find every event."""
        with available():
            await self._redis.expire(keys.answer_stream(stream_id), AFTER_END_S)

    async def hold(self, answer_id: str, owner: str, ttl_s: int = 15) -> None:
        """Say that `owner` is generating this answer; renew before `ttl_s` passes."""
        with available():
            await self._redis.set(keys.generation(answer_id), owner, ex=ttl_s)

    async def claim(self, answer_ids: Sequence[str], owner: str, ttl_s: int = 15) -> bool:
        """Hold answers that nobody generates: all of them, or False. Earlier stops are forgotten."""
        held, stops = [*map(keys.generation, answer_ids)], [*map(keys.stop, answer_ids)]
        with available():
            return bool(await self._claim(keys=held + stops, args=[owner, ttl_s]))

    async def release(self, answer_id: str) -> None:
        """The answer has ended: nobody generates it any more."""
        with available():
            await self._redis.delete(keys.generation(answer_id))

    async def release_all(self, owners: Sequence[str]) -> int:
        """These are gone: nobody generates their answers any more; how many there were.

        Goes through all keys a thousand at a time: for the start of a server, not for a request.
        """
        released = 0
        with available():
            async for key in self._redis.scan_iter(match=keys.generation("*"), count=1000):
                released += int(await self._drop(keys=[key], args=owners))
        return released

    async def alive(self, answer_id: str) -> bool:
        """False when the server that generated this answer is gone."""
        with available():
            return bool(await self._redis.exists(keys.generation(answer_id)))

    async def request_stop(self, answer_id: str) -> None:
        """Ask whichever server generates this answer to end it."""
        with available():
            await self._redis.set(keys.stop(answer_id), 1, ex=60)

    async def stop_requested(self, answer_id: str) -> bool:
        with available():
            return bool(await self._redis.exists(keys.stop(answer_id)))


class Feed:
    """What happens, for the admin page: events `run`, `metric`, `policy`, `vote`, `opinions`, `engines`.

    Runs, policies and votes write their events in the same step as the change itself.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tail = Tail(redis)

    async def append(self, event: str, data: dict[str, Any]) -> str:
        """Add one event; returns its id."""
        with available():
            entry = {"event": event, "data": json.dumps(data, allow_nan=False)}
            return str(await self._redis.xadd(keys.FEED, entry, maxlen=FEED_LENGTH, approximate=True))

    async def last_id(self) -> str:
        """Id of the newest entry, so that a reader can start at now without losing what comes next."""
        with available():
            newest = await self._redis.xrevrange(keys.FEED, count=1)
        return str(newest[0][0]) if newest else "0"

    def read(self, after: str) -> AsyncGenerator[Entry | None, None]:
        """Entries after the id `after` for ever; None after each 5 s of silence."""
        return self._tail.follow(keys.FEED, after)
