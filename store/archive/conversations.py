"""Conversations in the archive, and out of Redis when nobody has touched them for long.

Every script that changes a conversation marks it as changed. A pass writes the marked ones whole; the newest
line of a conversation is what it is. One at rest can leave Redis: then its line is read instead, and whoever
writes to it brings it back first.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from store import keys
from store.archive.index import SegmentIndex
from store.archive.manifest import ArchiveError
from store.archive.segments import Line, Place, Segments
from store.archive.vote_rows import archive_folder
from store.connection import Redis, available

SERIES = "conversations"
KINDS = ("messages", "answers", "duels")
AT_ONCE = 50
CLEAR_AT_ONCE = 500

# The mark goes only if the conversation was not changed again meanwhile.
# KEYS: changed, places, gone. ARGV: id, changes that were looked at, place of the line, or `gone` (the line
# says so) or `trash` (no line: its deletion can be undone for a minute, and its end marks it again).
_KEPT = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[3] == 'gone' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('SADD', KEYS[3], ARGV[1])
elseif ARGV[3] ~= 'trash' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
return 1
"""

# KEYS: conversations, messages, answers, duels, places of answers, of duels, changed, archived places.
# ARGV: id, place of the line.
_PUT_AWAY = """
if redis.call('ZSCORE', KEYS[7], ARGV[1]) then return 0 end
if redis.call('HGET', KEYS[8], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 3, 4 do
  local ids = redis.call('HKEYS', KEYS[i])
  for j = 1, #ids, 1000 do redis.call('HDEL', KEYS[i + 2], unpack(ids, j, math.min(j + 999, #ids))) end
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return 1
"""

# KEYS: as _PUT_AWAY, and trash. ARGV: id, place, its json, then index of a hash, field, value.
_BRING_BACK = """
if redis.call('HGET', KEYS[8], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('HEXISTS', KEYS[9], ARGV[1]) == 1 then return 0 end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[3]) == 0 then return 1 end
for i = 4, #ARGV, 3 do
  local hash = tonumber(ARGV[i])
  redis.call('HSET', KEYS[hash], ARGV[i + 1], ARGV[i + 2])
  if hash > 2 then redis.call('HSET', KEYS[hash + 2], ARGV[i + 1], ARGV[1]) end
end
redis.call('ZINCRBY', KEYS[7], 1, ARGV[1])
return 1
"""


class AtRest:
    """Conversations that are in the archive only. Raises StoreUnavailable, ArchiveError."""

    def __init__(self, redis: Redis, volume: Path | None) -> None:
        self._redis = redis
        self._segments = Segments(archive_folder(volume), SERIES) if volume else None
        self._index = SegmentIndex(self._segments, ids_of) if self._segments else None
        self._bring_back = redis.register_script(_BRING_BACK)

    async def get(self, conversation_id: str) -> Line | None:
        """The line of a conversation that is not in Redis; None when it is there, or gone."""
        return (await self.several([conversation_id])).get(conversation_id)

    async def several(self, conversation_ids: Sequence[str]) -> dict[str, Line]:
        """Those of the conversations that are in the archive only."""
        return {name: line for name, (_, line) in (await self._found(conversation_ids)).items()}

    async def place_of(self, node_id: str) -> str | None:
        """Id of the conversation in the archive that has this answer or duel."""
        if self._index is None:
            return None
        return await asyncio.to_thread(self._holder, node_id)

    async def wake(self, conversation_id: str) -> bool:
        """Bring a conversation back into Redis, as every write needs it; False when it is not at rest."""
        found = (await self._found([conversation_id])).get(conversation_id)
        if found is None:
            return False
        place, line = found
        args: list[Any] = [conversation_id, place, line["conversation"]]
        for index, kind in enumerate(KINDS, start=2):
            for name, text in line[kind].items():
                args += [index, name, text]
        with available():
            woken = await self._bring_back(keys=[*_keys(conversation_id), keys.TRASH], args=args)
        return bool(woken)

    async def _found(self, names: Sequence[str]) -> dict[str, tuple[str, Line]]:
        if not names:
            return {}
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(keys.ARCHIVED, names)
                pipe.hmget(keys.CONVERSATIONS, names)
                pipe.hmget(keys.TRASH, names)
                places, there, deleted = await pipe.execute()
        wanted = {
            name: place
            for name, place, *elsewhere in zip(names, places, there, deleted, strict=True)
            if place and not any(elsewhere)
        }
        if wanted and self._segments is None:
            raise ArchiveError("old conversations are in the archive only: give the volume (HEED_DATA)")
        return await asyncio.to_thread(self._read, wanted) if wanted else {}

    def _read(self, places: dict[str, str]) -> dict[str, tuple[str, Line]]:
        assert self._segments is not None
        found = {}
        for name, place in places.items():
            where = Place.parse(place)
            line = self._segments.at(where.number, where.offset)
            if line.get("id") != name:
                raise ArchiveError(f"{self._segments.folder}: {place} of {SERIES} is not conversation {name}")
            found[name] = (place, line)
        return found

    def _holder(self, node_id: str) -> str | None:
        assert self._segments is not None
        assert self._index is not None
        for number, offset in self._index.find(node_id):
            line = self._segments.at(number, offset)
            if node_id in line.get("answers", ()) or node_id in line.get("duels", ()):
                return str(line["id"])
        return None


async def keep_conversations(redis: Redis, segments: Segments) -> int:
    """Archive the next changed conversations; how many, 0 when all are archived."""
    with available():
        changed = await redis.zrange(keys.ARCHIVE_CHANGED, 0, AT_ONCE - 1, withscores=True)
    found = await _lines(redis, [name for name, _ in changed])
    lines = [(line, name, count) for line, (name, count) in zip(found, changed, strict=True)]
    written = [line for line in found if line is not None]
    places = iter(await asyncio.to_thread(segments.append, written))
    kept = redis.register_script(_KEPT)
    names = [keys.ARCHIVE_CHANGED, keys.ARCHIVED, keys.ARCHIVE_GONE]
    with available():
        async with redis.pipeline(transaction=False) as pipe:
            for line, name, count in lines:
                place = "trash" if line is None else str(next(places))
                result = "gone" if line and "gone" in line else place
                await kept(keys=names, args=[name, f"{count:.0f}", result], client=pipe)
            await pipe.execute()
    return len(changed)


async def _lines(redis: Redis, names: Sequence[str]) -> list[Line | None]:
    """Each conversation as one line; None while its deletion can be undone."""
    with available():
        async with redis.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.hget(keys.CONVERSATIONS, name)
                pipe.hexists(keys.TRASH, name)
                for kind in KINDS:
                    pipe.hgetall(keys.nodes(name, kind))
            found = await pipe.execute()
        rows = [found[start : start + 5] for start in range(0, len(found), 5)]
        async with redis.pipeline(transaction=False) as pipe:
            for name, (conversation, *_) in zip(names, rows, strict=True):
                owner = json.loads(conversation)["owner_id"] if conversation else ""
                pipe.zscore(keys.by_owner(owner), name)
            listed = await pipe.execute()
    lines: list[Line | None] = []
    for name, (conversation, deleted, *nodes), score in zip(names, rows, listed, strict=True):
        line: Line = {"at": _ms(), "id": name}
        if conversation is not None:
            line |= {"listed": score is not None, "conversation": conversation}
            line |= dict(zip(KINDS, nodes, strict=True))
        lines.append(
            None if conversation is None and deleted else line if conversation else line | {"gone": True}
        )
    return lines


async def put_away(redis: Redis, segments: Segments, rest_s: float, until: float) -> int:
    """Take conversations out of Redis that were archived, in a sealed segment, `rest_s` ago and not changed
    since; how many. Goes on where it ended last; stops at the time `until` (monotonic)."""
    with available():
        through = await redis.get(keys.ARCHIVE_AT_REST)
    put = redis.register_script(_PUT_AWAY)
    before, done = (time.time() - rest_s) * 1000, 0
    batch: list[tuple[Place, Line]] = []
    lines = segments.lines(Place.parse(through) if through else None, sealed_only=True)
    while time.monotonic() < until:
        batch = await asyncio.to_thread(_next, lines, before)
        if not batch:
            return done
        with available():
            async with redis.pipeline(transaction=False) as pipe:
                for place, line in batch:
                    if "conversation" in line:
                        await put(keys=_keys(line["id"]), args=[line["id"], str(place)], client=pipe)
                done += sum(await pipe.execute())
            await redis.set(keys.ARCHIVE_AT_REST, str(batch[-1][0]))
    return done


def _next(lines: Iterator[tuple[Place, Line]], before: float) -> list[tuple[Place, Line]]:
    batch = []
    for place, line in lines:
        if line["at"] > before:
            break
        batch.append((place, line))
        if len(batch) == CLEAR_AT_ONCE:
            break
    return batch


def ids_of(line: Line) -> Iterator[str]:
    """What a conversation's line is found by."""
    yield line["id"]
    yield from line.get("answers", ())
    yield from line.get("duels", ())


def _keys(conversation_id: str) -> list[str]:
    kinds = [keys.nodes(conversation_id, kind) for kind in KINDS]
    places = [keys.ANSWER_PLACE, keys.DUEL_PLACE, keys.ARCHIVE_CHANGED, keys.ARCHIVED]
    return [keys.CONVERSATIONS, *kinds, *places]


def _ms() -> int:
    return int(time.time() * 1000)
