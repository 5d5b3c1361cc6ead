"""The reward model's opinions of votes in the archive: a line for each, in the order of their numbers."""

from __future__ import annotations

import asyncio

from store import keys
from store.archive.segments import Line, Segments
from store.connection import Redis, available
from store.opinions import KEPT
from store.records import now

SERIES = "opinions"
AT_ONCE = 1000


async def keep_opinions(redis: Redis, segments: Segments) -> int:
    """Archive the next opinions; how many, 0 when all are there."""
    last = await asyncio.to_thread(segments.last)
    after = f"({last['number']}" if last else "-inf"
    with available():
        rows = await redis.zrange(
            keys.OPINION_ORDER, after, "+inf", byscore=True, offset=0, num=AT_ONCE, withscores=True
        )
        texts = await redis.hmget(keys.OPINIONS, [vote_id for vote_id, _ in rows]) if rows else []
    at = int(now().timestamp() * 1000)
    lines: list[Line] = [
        {"at": at, "number": int(number), "vote": vote_id, "opinion": text}
        for (vote_id, number), text in zip(rows, texts, strict=True)
        if text is not None  # let go of since: it was one of the oldest
    ]
    await asyncio.to_thread(segments.append, lines)
    return len(lines)


async def restore_opinions(redis: Redis, segments: Segments) -> None:
    """Give Redis the newest ones, each under its number."""
    newest: dict[str, Line] = {}
    for _, line in segments.lines():
        newest.pop(line["vote"], None)  # to the end
        newest[line["vote"]] = line
    kept = list(newest.values())[-KEPT:]
    with available():
        async with redis.pipeline(transaction=False) as pipe:
            for line in kept:
                pipe.hset(keys.OPINIONS, line["vote"], line["opinion"])
                pipe.zadd(keys.OPINION_ORDER, {line["vote"]: line["number"]})
            if kept:
                pipe.set(keys.OPINION_COUNTER, kept[-1]["number"])
            await pipe.execute()
