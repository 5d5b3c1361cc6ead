"""API responses that feedback may come to: kept for days and up to so many bytes, the oldest go first."""

from __future__ import annotations

import time

from store import keys
from store.connection import Redis, available
from store.records import Duel, Response

KEEP_S = 7 * 24 * 3600
KEEP_BYTES = 256 * 2**20

# KEYS: responses, order, bytes, rated. ARGV: id, json, now in ms, oldest allowed in ms, bytes allowed.
_KEEP = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[1] .. ' ' .. ARGV[3])
local bytes = redis.call('INCRBY', KEYS[3], #ARGV[2])
while true do
  local oldest = redis.call('LINDEX', KEYS[2], 0)
  if not oldest then return end
  local id, at = string.match(oldest, '^(%S+) (%d+)$')
  if tonumber(at) >= tonumber(ARGV[4]) and bytes <= tonumber(ARGV[5]) then return end
  bytes = redis.call('DECRBY', KEYS[3], redis.call('HSTRLEN', KEYS[1], id))
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[4], id)
  redis.call('LPOP', KEYS[2])
end
"""

# Once for each response: a conversation that its owner deleted stays deleted.
# KEYS: rated, conversations, conversations of the owner, messages, answers, places of answers, changed.
# ARGV: response id, conversation id, json, time, message id, json, then id and json of each answer.
_JOIN = """
if redis.call('HSETNX', KEYS[1], ARGV[1], 1) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[5], ARGV[6])
for i = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[6], ARGV[i], ARGV[2])
end
redis.call('ZINCRBY', KEYS[7], 1, ARGV[2])
return 1
"""

# A duel that is there keeps its vote.
# KEYS: conversations, duels, places of duels, changed. ARGV: conversation, id, json.
_PAIR = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return end
if redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3]) == 0 then return end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZINCRBY', KEYS[4], 1, ARGV[1])
"""


class Responses:
    """Keeps API responses. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keep = redis.register_script(_KEEP)
        self._join = redis.register_script(_JOIN)
        self._pair = redis.register_script(_PAIR)

    async def keep(self, response: Response, *, keep_s: float = KEEP_S, keep_bytes: int = KEEP_BYTES) -> None:
        """Keep it; what is older than `keep_s` or beyond `keep_bytes` goes."""
        at = time.time()
        with available():
            await self._keep(
                keys=[keys.RESPONSES, keys.RESPONSE_ORDER, keys.RESPONSE_BYTES, keys.RESPONSES_RATED],
                args=[
                    response.id,
                    response.model_dump_json(),
                    int(at * 1000),
                    int((at - keep_s) * 1000),
                    keep_bytes,
                ],
            )

    async def get(self, response_id: str) -> Response | None:
        with available():
            text = await self._redis.hget(keys.RESPONSES, response_id)
        return Response.model_validate_json(text) if text else None

    async def join(self, response: Response) -> None:
        """Make its conversation, message and answers, as a vote needs them; the second time does nothing."""
        conversation, message = response.conversation, response.message
        args: list[str | float] = [
            response.id,
            conversation.id,
            conversation.model_dump_json(),
            conversation.updated_at.timestamp(),
            message.id,
            message.model_dump_json(),
        ]
        for answer in response.answers:
            args += [answer.id, answer.model_dump_json()]
        with available():
            await self._join(
                keys=[
                    keys.RESPONSES_RATED,
                    keys.CONVERSATIONS,
                    keys.by_owner(conversation.owner_id),
                    keys.nodes(conversation.id, "messages"),
                    keys.nodes(conversation.id, "answers"),
                    keys.ANSWER_PLACE,
                    keys.ARCHIVE_CHANGED,
                ],
                args=args,
            )

    async def pair(self, duel: Duel) -> None:
        """Make a duel of two of its answers; one that is there stays as it is."""
        with available():
            await self._pair(
                keys=[
                    keys.CONVERSATIONS,
                    keys.nodes(duel.conversation_id, "duels"),
                    keys.DUEL_PLACE,
                    keys.ARCHIVE_CHANGED,
                ],
                args=[duel.conversation_id, duel.id, duel.model_dump_json()],
            )
