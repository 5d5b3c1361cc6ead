"""Lineage: which votes a run learned from, and which of these stopped counting later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from store import keys
from store.connection import Redis, available

AT_ONCE = 1000


class Lineage:
    """The votes of each run's data set. The data set's files are the truth. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def record(self, run_id: str, vote_ids: Iterable[str]) -> None:
        """Say which votes are in the run's data set; safe to repeat."""
        left = iter(vote_ids)
        while some := list(islice(left, AT_ONCE)):
            with available():
                await self._redis.sadd(keys.run_votes(run_id), *some)

    async def votes(self, run_id: str) -> set[str]:
        """Ids of the votes in the run's data set; empty for runs of version 0.1."""
        with available():
            return set(await self._redis.smembers(keys.run_votes(run_id)))

    async def used_in(self, vote_id: str, run_ids: Sequence[str]) -> list[str]:
        """Those of the runs that learned from, or were judged by, this vote."""
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for run_id in run_ids:
                    pipe.sismember(keys.run_votes(run_id), vote_id)
                found = await pipe.execute()
        return [run_id for run_id, used in zip(run_ids, found, strict=True) if used]

    async def tainted_by(self, run_id: str) -> set[str]:
        """Ids of votes in the run's data set that were undone or excluded since."""
        with available():
            return set(await self._redis.sinter(keys.run_votes(run_id), keys.VOTE_OUT))
