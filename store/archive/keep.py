"""One pass of the archive: write what is new, seal what is large or old, take out of Redis what may go.

Killed at any moment it loses nothing and writes nothing twice: the next pass reads back where it was.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from store import keys
from store.archive import conversations, opinions, state
from store.archive.blank import blank, recover_blanked
from store.archive.conversations import keep_conversations, put_away
from store.archive.index import Ids, SegmentIndex
from store.archive.manifest import ArchiveError
from store.archive.opinions import keep_opinions
from store.archive.segments import Place, Segments
from store.archive.state import keep_state
from store.archive.streams import STREAMS, keep_stream
from store.archive.vote_rows import VoteRows, archive_folder
from store.archive.vote_rows import ids_of as ids_of_votes
from store.connection import Redis, available
from store.records import Record, new_id

IDENTITY = "ID"
INDEXED: dict[str, Ids] = {"votes": ids_of_votes, conversations.SERIES: conversations.ids_of}
SERIES = (*STREAMS, opinions.SERIES, conversations.SERIES, state.SERIES)
PASS_S = 5.0
"""A pass ends soon after this long; what is left waits for the next."""


class Limits(Record):
    """When segments are sealed, and what stays in Redis."""

    segment_bytes: int = Field(default=64 << 20, ge=1)
    seal_s: float = Field(default=24 * 3600, gt=0)
    hot_votes: int = Field(default=100_000, ge=1)
    rest_s: float | None = 30 * 24 * 3600


class Pass(Record):
    """What a pass did."""

    written: int
    """Lines."""
    sealed: int
    """Segments."""
    at_rest: int
    """Conversations that left Redis."""
    trimmed: int
    """Entries of the vote log that left Redis."""
    more: bool
    """It ended because its time was over."""


async def keep(redis: Redis, volume: Path, limits: Limits, pass_s: float = PASS_S) -> Pass | None:
    """Do one pass; None when another process is at it.

    Raises StoreUnavailable, or ArchiveError: the folder is another site's, or damaged.
    """
    folder = archive_folder(volume)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with _alone(folder) as alone:
        return await _keep(redis, volume, limits, time.monotonic() + pass_s) if alone else None


async def _keep(redis: Redis, volume: Path, limits: Limits, until: float) -> Pass:
    folder = archive_folder(volume)
    series = {name: Segments(folder, name) for name in SERIES}
    for segments in series.values():
        await asyncio.to_thread(segments.recover)
    await asyncio.to_thread(recover_blanked, series[conversations.SERIES])
    await _identify(redis, folder, series)
    steps: list[Callable[[], Awaitable[int]]] = [
        *(lambda name=name: keep_stream(redis, series[name]) for name in STREAMS),
        lambda: keep_opinions(redis, series[opinions.SERIES]),
        lambda: keep_conversations(redis, series[conversations.SERIES]),
    ]
    written = await keep_state(redis, series[state.SERIES])
    for step in steps:
        while time.monotonic() < until and (count := await step()):
            written += count
    with available():
        ends = {name: str(segments.end()) for name, segments in series.items()}
        await redis.hset(keys.ARCHIVE_HEAD, mapping=ends)
    sealed = await asyncio.to_thread(_seal, list(series.values()), limits)
    if conversations.SERIES in sealed:
        await _forget(redis, series[conversations.SERIES])
    at_rest = 0
    if limits.rest_s is not None:
        at_rest = await put_away(redis, series[conversations.SERIES], limits.rest_s, until)
    votes = series["votes"].manifest.of("votes")
    trimmed, rows = 0, VoteRows(redis, volume)
    while votes and (gone := await rows.trim(limits.hot_votes, votes[-1].last)):
        trimmed += gone
        if time.monotonic() >= until:
            break
    more = time.monotonic() >= until
    return Pass(written=written, sealed=len(sealed), at_rest=at_rest, trimmed=trimmed, more=more)


def _seal(series: list[Segments], limits: Limits) -> list[str]:
    """The series of which a segment was sealed."""
    sealed = []
    for segments in series:
        number = segments.open_number()
        if segments.seal_when(bytes_=limits.segment_bytes, age_s=limits.seal_s):
            sealed.append(segments.series)
            if segments.series in INDEXED:
                SegmentIndex(segments, INDEXED[segments.series]).make(number)
    return sealed


async def _forget(redis: Redis, segments: Segments) -> None:
    """Blank the texts of deleted conversations; after a sealing, when none of them is in an open segment."""
    with available():
        gone = await redis.smembers(keys.ARCHIVE_GONE)
    if gone:
        index = SegmentIndex(segments, conversations.ids_of)
        await asyncio.to_thread(blank, segments, index, gone)
        with available():
            await redis.srem(keys.ARCHIVE_GONE, *gone)


async def _identify(redis: Redis, folder: Path, series: dict[str, Segments]) -> None:
    """The folder and Redis must be of one site, and the folder must hold all that Redis says it does."""
    path = folder / IDENTITY
    mine = path.read_text().strip() if path.exists() else None
    with available():
        theirs = await redis.get(keys.ARCHIVE_ID)
        heads = await redis.hgetall(keys.ARCHIVE_HEAD)
    if mine is not None and theirs != mine:
        raise ArchiveError(
            f"{folder} is the archive of another Redis: restore it (`make restore FROM={folder}`) or move it"
        )
    behind = [name for name, head in heads.items() if series[name].end() < Place.parse(head)]
    if mine is not None and not behind:
        return
    with available():
        lost = await redis.get(keys.VOTES_TRIMMED)
        if lost or await redis.hlen(keys.ARCHIVED) > await redis.hlen(keys.CONVERSATIONS):
            what = f"{folder} lacks {', '.join(behind) or 'everything'}"
            raise ArchiveError(f"{what}, and Redis holds only the newest: put the archive back")
        await redis.delete(keys.ARCHIVE_ITEMS, keys.ARCHIVED, keys.ARCHIVE_HEAD)
        async for name, _ in redis.hscan_iter(keys.CONVERSATIONS, count=1000):
            await redis.zincrby(keys.ARCHIVE_CHANGED, 1, name)
        if mine is None:
            mine = theirs or new_id("archive")
            await redis.set(keys.ARCHIVE_ID, mine)
            await asyncio.to_thread(path.write_text, mine + "\n")


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Only one process writes; the lock dies with it."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    try:
        yield alone
    finally:
        os.close(handle)
