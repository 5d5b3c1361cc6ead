"""Deleted conversations: out of sight at once, gone for good when the time to undo is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from store import keys
from store.archive.conversations import AtRest
from store.connection import Redis, available
from store.records import Conversation

GRACE = timedelta(minutes=1)
"""How long a deletion can be undone."""

# Taken out of the hash that every reader and writer of conversations looks into, it is deleted for all of
# them, also for an answer that ends later. KEYS: conversations, of the owner, trash, due, changed,
# archived. ARGV: id, due.
_PUT = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], text)
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
redis.call('ZINCRBY', KEYS[5], 1, ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
return 1
"""

# KEYS: as _PUT. ARGV: id, time of its last change.
_TAKE_BACK = """
local text = redis.call('HGET', KEYS[3], ARGV[1])
if not text then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('ZINCRBY', KEYS[5], 1, ARGV[1])
return 1
"""

# One that was taken back meanwhile is let be.
# KEYS: trash, due, messages, answers, duels, places of answers, places of duels, changed. ARGV: id.
_END = """
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for _, id in ipairs(redis.call('HKEYS', KEYS[4])) do redis.call('HDEL', KEYS[6], id) end
for _, id in ipairs(redis.call('HKEYS', KEYS[5])) do redis.call('HDEL', KEYS[7], id) end
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
redis.call('ZINCRBY', KEYS[8], 1, ARGV[1])
return 1
"""


class Trash:
    """Conversations between their deletion and its end. Raises StoreUnavailable."""

    def __init__(self, redis: Redis, volume: Path | None = None) -> None:
        self._redis = redis
        self._at_rest = AtRest(redis, volume)
        self._put = redis.register_script(_PUT)
        self._take_back = redis.register_script(_TAKE_BACK)
        self._end = redis.register_script(_END)

    async def put(self, conversation: Conversation, at: datetime) -> None:
        """Delete it, as far as anybody can see. `at`: now. Votes on it count no more."""
        due = (at + GRACE).timestamp()
        while True:
            with available():
                if await self._put(keys=_keys(conversation), args=[conversation.id, due]):
                    return
            if not await self._at_rest.wake(conversation.id):
                return

    async def get(self, conversation_id: str) -> Conversation | None:
        with available():
            text = await self._redis.hget(keys.TRASH, conversation_id)
        return Conversation.model_validate_json(text) if text else None

    async def take_back(self, conversation: Conversation) -> bool:
        """Undo its deletion; False when it is gone for good."""
        changed = conversation.updated_at.timestamp()
        with available():
            return bool(await self._take_back(keys=_keys(conversation), args=[conversation.id, changed]))

    async def empty(self, at: datetime) -> int:
        """Remove the texts of all whose time is over; how many. Any number of servers may do it at once."""
        with available():
            due = await self._redis.zrangebyscore(keys.TRASH_DUE, 0, at.timestamp())
            return sum([await self._end(keys=_texts(name), args=[name]) for name in due])


def _keys(conversation: Conversation) -> list[str]:
    return [
        keys.CONVERSATIONS,
        keys.by_owner(conversation.owner_id),
        keys.TRASH,
        keys.TRASH_DUE,
        keys.ARCHIVE_CHANGED,
        keys.ARCHIVED,
    ]


def _texts(conversation_id: str) -> list[str]:
    kinds = [keys.nodes(conversation_id, kind) for kind in ("messages", "answers", "duels")]
    return [keys.TRASH, keys.TRASH_DUE, *kinds, keys.ANSWER_PLACE, keys.DUEL_PLACE, keys.ARCHIVE_CHANGED]
