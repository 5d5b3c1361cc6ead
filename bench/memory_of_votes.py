"""Redis' memory for many votes, before and after the archive has taken what may leave: promise 7.

    .venv/bin/python -m bench.memory_of_votes [votes]

Each vote has a conversation of its own with two answers of about 90 words, the dearest case.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.explorer import fill
from store import keys
from store.archive.keep import Limits, keep
from store.archive.verify import verify
from store.connection import Redis, StoreUnavailable, connect
from tests.conftest import RedisServer

HOT_VOTES = 10_000


async def used(redis: Redis) -> int:
    await redis.memory_purge()
    return int((await redis.info("memory"))["used_memory"])


async def of_key(redis: Redis, key: str) -> int:
    return int(await redis.memory_usage(key, samples=0) or 0)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="heed-memory-", dir="/tmp") as folder:
        server, volume = RedisServer(Path(folder)), Path(folder)
        server.start()
        try:
            async with connect(server.url) as redis:
                await redis.config_set("appendonly", "no")  # memory is the same, and filling is faster
                await redis.config_set("save", "")
                await redis.config_set("maxmemory", 0)
                empty = await used(redis)
                await fill(redis, count)
                await report("in Redis", count, await used(redis) - empty, redis)
                began, written = time.monotonic(), 0
                limits = Limits(hot_votes=HOT_VOTES, rest_s=0.0, seal_s=0.01)
                while True:
                    try:
                        done = await keep(redis, volume, limits)
                    except StoreUnavailable as busy:  # a crowded machine: the next pass goes on
                        print(f"    {busy}")
                        continue
                    assert done is not None
                    written += done.written
                    if not (done.written or done.at_rest or done.trimmed or done.more):
                        break
                took = time.monotonic() - began
                await report(f"archived, {HOT_VOTES:,} votes hot", count, await used(redis) - empty, redis)
                size, stream = await used(redis) - empty, await of_key(redis, keys.VOTES)
                million = (size - stream) / count * 1e6 + stream / HOT_VOTES * Limits().hot_votes
                print(f"1,000,000 votes, {Limits().hot_votes:,} of them hot: {million / 1e9:.2f} GB")
                whole = verify(volume / "archive")
                per_vote = whole.bytes / count
                print(f"archive: {written:,} lines in {took:.1f} s, {per_vote:.0f} bytes a vote on disk")
        finally:
            server.stop()


async def report(what: str, count: int, size: int, redis: Redis) -> None:
    each = size / count
    print(f"{what}: {size / 2**20:,.0f} MiB, {each:,.0f} bytes a vote")
    for key in (
        keys.VOTES,
        keys.VOTE_KEYS,
        keys.VOTE_BY_ID,
        keys.ARCHIVED,
        keys.ANSWER_PLACE,
        keys.CONVERSATIONS,
    ):
        print(f"    {key:32} {await of_key(redis, key) / count:8.1f} bytes a vote")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
