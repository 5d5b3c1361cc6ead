"""How often a person may do something: one budget per person and kind, shared by all servers."""

from __future__ import annotations

import math

from store import keys
from store.connection import Redis, available

# The generic cell rate algorithm (ITU-T I.371): the key holds the time at which the budget is whole again.
# Never further away than the whole budget lasts, unless the clock was set back: nobody waits for that.
# KEYS: budget. ARGV: seconds that one costs, burst. Returns seconds to wait, "0" when it may be done now.
_SPEND = """
local time = redis.call('TIME')
local at = time[1] + time[2] / 1000000
local cost, whole = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or 0)
if whole < at or whole > at + cost * tonumber(ARGV[2]) + 1 then whole = at end
local wait = whole + cost - at - cost * tonumber(ARGV[2])
if wait > 0.000001 then return string.format('%.6f', wait) end
whole = whole + cost
redis.call('SET', KEYS[1], string.format('%.6f', whole), 'PX', math.ceil((whole - at) * 1000))
return '0'
"""


class Limits:
    """Spends budgets. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._spend = redis.register_script(_SPEND)

    async def spend(self, kind: str, person: str, per_minute: int) -> int:
        """Count one of `kind`; 0 when it may be done, else whole seconds to wait, and nothing is counted.

        A minute's budget may be spent at once; it comes back evenly.
        """
        with available():
            wait = await self._spend(keys=[keys.budget(kind, person)], args=[60 / per_minute, per_minute])
        return math.ceil(float(wait))
