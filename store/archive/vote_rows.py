"""The vote log's entries, wherever they are: the newest in Redis, older ones only in the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from store import keys
from store.archive.index import SegmentIndex
from store.archive.manifest import ArchiveError
from store.archive.segments import Line, Place, Segments
from store.connection import Redis, available
from store.stream_ids import position

TRIM_AT_ONCE = 1000
Row = tuple[str, dict[str, str]]

# Trimming and the note of it are one step. KEYS: votes, trimmed. ARGV: last id that goes, first to stay.
_TRIM = """
redis.call('SET', KEYS[2], ARGV[1])
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
"""


def archive_folder(volume: Path) -> Path:
    return volume / "archive"


class VoteRows:
    """Reads entries of the stream of votes. Raises StoreUnavailable, ArchiveError."""

    def __init__(self, redis: Redis, volume: Path | None) -> None:
        self._redis = redis
        self._segments = Segments(archive_folder(volume), "votes") if volume else None
        self._index = SegmentIndex(self._segments, ids_of) if self._segments else None
        self._trim = redis.register_script(_TRIM)

    async def after(self, after: str, through: str = "+", count: int | None = None) -> list[Row]:
        """Entries in (after, through], oldest first, at most `count`."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(keys.VOTES_TRIMMED)
                pipe.xrange(keys.VOTES, min=f"({after}", max=through, count=count)
                trimmed, rows = await pipe.execute()
        if trimmed is None or position(after) >= position(trimmed):
            return list(rows)
        end = trimmed if through == "+" or position(through) > position(trimmed) else through
        old = await asyncio.to_thread(self._old_after, after, end, count)
        return [*old, *rows][:count]

    async def these(self, entries: Sequence[str]) -> list[Row]:
        """The entries with these ids, in this order; those that there are."""
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    pipe.xrange(keys.VOTES, min=entry, max=entry)
                found = await pipe.execute()
        missing = [entry for entry, rows in zip(entries, found, strict=True) if not rows]
        old = await asyncio.to_thread(self._old, missing) if missing else {}
        rows = [rows[0] if rows else old.get(entry) for entry, rows in zip(entries, found, strict=True)]
        return [row for row in rows if row is not None]

    async def newest_through(self, through: str) -> Row | None:
        """The newest entry up to this id."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(keys.VOTES_TRIMMED)
                pipe.xrevrange(keys.VOTES, max=through, count=1)
                trimmed, rows = await pipe.execute()
        if rows or trimmed is None:
            return rows[0] if rows else None
        old = await asyncio.to_thread(self._old_through, through)
        return old

    async def trim(self, keep: int, archived: str) -> int:
        """Take the next entries up to `archived` out of Redis, except the newest `keep`; how many went."""
        with available():
            length = await self._redis.xlen(keys.VOTES)
            if length <= keep:
                return 0
            rows = await self._redis.xrange(keys.VOTES, count=min(length - keep, TRIM_AT_ONCE))
            going = [entry for entry, _ in rows if position(entry) <= position(archived)]
            if not going:
                return 0
            milliseconds, sequence = position(going[-1])
            names = [keys.VOTES, keys.VOTES_TRIMMED]
            return int(await self._trim(keys=names, args=[going[-1], f"{milliseconds}-{sequence + 1}"]))

    def _old(self, entries: Sequence[str]) -> dict[str, Row]:
        segments, index = self._archive()
        found: dict[str, Row] = {}
        for entry in entries:
            for number, offset in index.find(entry):
                line = segments.at(number, offset)
                if line["entry"] == entry:
                    found[entry] = _row(line)
                    break
        return found

    def _old_after(self, after: str, through: str, count: int | None) -> list[Row]:
        rows: list[Row] = []
        for line in self._lines_after(after):
            if position(line["entry"]) > position(through):
                break
            rows.append(_row(line))
            if len(rows) == count:
                break
        return rows

    def _old_through(self, through: str) -> Row | None:
        segments, _ = self._archive()
        older = [one for one in segments.manifest.of("votes") if position(one.first) <= position(through)]
        newest = None
        for _, line in segments.lines(Place(older[-1].number, 0, 0)) if older else ():
            if position(line["entry"]) > position(through):
                break
            newest = _row(line)
        return newest

    def _lines_after(self, after: str) -> Iterator[Line]:
        segments, index = self._archive()
        start = next((Place(*place, 0) for place in index.find(after)), None)
        if start is None:  # not the id of an entry: from the segment that may hold what follows it
            older = [one for one in segments.manifest.of("votes") if position(one.first) <= position(after)]
            start = Place(older[-1].number if older else 1, 0, 0)
        for _, line in segments.lines(start):
            if position(line["entry"]) > position(after):
                yield line

    def _archive(self) -> tuple[Segments, SegmentIndex]:
        if self._segments is None or self._index is None:
            raise ArchiveError("old votes are in the archive only: give VoteLog the volume (HEED_DATA)")
        return self._segments, self._index


def ids_of(line: Line) -> Iterator[str]:
    yield line["entry"]


def _row(line: Line) -> Row:
    return line["entry"], line["fields"]
