"""What became of the answers while a canary runs: servers count, workers weigh and keep the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from store import keys
from store.connection import Redis, available
from store.records import Canary, Record
from store.statistics.guards import Guard, wait_bucket

KEPT_S = 30 * 24 * 3600

# KEYS: watch. ARGV: json before or '', json after, seconds to keep.
_KEEP = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class Ended(NamedTuple):
    """How one answer of the first turn of a conversation ended."""

    version: int
    failed: bool
    stopped: bool | None
    """By its reader; None in a duel, where stopping one side is a vote."""
    truncated: bool | None
    """Cut at the length limit; None for an answer that did not finish."""
    first_word_s: float | None
    """From the engine's start on it to the first word; None: there was none."""


class Watch(Record):
    """What has been weighed so far."""

    seen: dict[str, int] = Field(default_factory=dict)
    """The counts at the last look."""
    votes_through: str = "0"
    """The last vote that was looked at for its thumb."""
    guards: tuple[Guard, ...] = ()


class CanaryWatch:
    """Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keep = redis.register_script(_KEEP)

    async def record(self, canary: Canary, ended: Sequence[Ended]) -> None:
        """Count these answers, in one step."""
        counts: Counter[str] = Counter()
        for answer in ended:
            of = f"{answer.version}:"
            counts[of + "answers"] += 1
            counts[of + "failed"] += answer.failed
            if answer.stopped is not None:
                counts[of + "alone"] += 1
                counts[of + "stopped"] += answer.stopped
            if answer.truncated is not None:
                counts[of + "finished"] += 1
                counts[of + "truncated"] += answer.truncated
            if answer.first_word_s is not None:
                counts[f"{of}wait:{wait_bucket(answer.first_word_s)}"] += 1
        key = keys.canary_counts(canary.number, _began(canary))
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                for field, more in counts.items():
                    if more:
                        pipe.hincrby(key, field, more)
                pipe.expire(key, KEPT_S)
                await pipe.execute()

    async def counts(self, canary: Canary) -> dict[str, int]:
        """`version:what` -> how often since the canary began."""
        with available():
            found = await self._redis.hgetall(keys.canary_counts(canary.number, _began(canary)))
        return {field: int(count) for field, count in found.items()}

    async def watch(self, canary: Canary) -> Watch:
        """What was weighed so far."""
        text = await self._text(canary)
        return Watch.model_validate_json(text) if text else Watch()

    async def keep(self, canary: Canary, before: Watch, after: Watch) -> bool:
        """Replace `before`; False when another worker was faster."""
        old = await self._text(canary)
        if (Watch.model_validate_json(old) if old else Watch()) != before:
            return False
        with available():
            key = keys.canary_watch(canary.number, _began(canary))
            return bool(await self._keep(keys=[key], args=[old, after.model_dump_json(), KEPT_S]))

    async def _text(self, canary: Canary) -> str:
        with available():
            return str(await self._redis.get(keys.canary_watch(canary.number, _began(canary))) or "")


def _began(canary: Canary) -> int:
    return int(canary.started_at.timestamp() * 1000)
