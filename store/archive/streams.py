"""The append-only streams of Redis in the archive: votes with their changes, reviews, the audit log.

A line holds an entry as it is in the stream, so the newest line says where to go on.
"""

from __future__ import annotations

import asyncio

from store import keys
from store.archive.segments import Line, Segments
from store.connection import Redis, available
from store.records import now

STREAMS = {"votes": keys.VOTES, "reviews": keys.REVIEWS, "audit": keys.AUDIT}
AT_ONCE = 1000


async def keep_stream(redis: Redis, segments: Segments) -> int:
    """Archive the next entries of the series' stream; how many, 0 when all are there."""
    last = await asyncio.to_thread(segments.last)
    with available():
        rows = await redis.xrange(
            STREAMS[segments.series], min=f"({last['entry']}" if last else "-", count=AT_ONCE
        )
    at = int(now().timestamp() * 1000)
    lines: list[Line] = [{"at": at, "entry": entry, "fields": fields} for entry, fields in rows]
    await asyncio.to_thread(segments.append, lines)
    return len(lines)
