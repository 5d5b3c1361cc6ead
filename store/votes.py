"""The vote log: every vote exactly once, durable before anybody is told that it counts."""

from __future__ import annotations

import json

from store import keys
from store.connection import Redis, available
from store.records import Duel, Vote


class IdempotencyConflict(Exception):
    """The same idempotency key came with another vote."""


class AlreadyVoted(Exception):
    """The duel is decided already."""


# One script, so that the key, the duel's verdict and the log entry are one write to the append-only file.
# KEYS: votes, idempotency, by_id, duels of the conversation, votes of the annotator, thumbs, feed
# ARGV: idempotency field, vote json, vote id, duel id or '', duel json with vote_id,
#       thumb field or '', choice
_CAST = """
local before = redis.call('HGET', KEYS[2], ARGV[1])
if before then return {'seen', before} end
if ARGV[4] ~= '' then
  local duel = redis.call('HGET', KEYS[4], ARGV[4])
  if not duel then return {'gone', ''} end
  if cjson.decode(duel)['vote_id'] ~= cjson.null then return {'decided', ''} end
  redis.call('HSET', KEYS[4], ARGV[4], ARGV[5])
else
  redis.call('HSET', KEYS[6], ARGV[6], ARGV[7])
end
local entry = redis.call('XADD', KEYS[1], '*', 'vote', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[3], entry)
redis.call('LPUSH', KEYS[5], ARGV[2])
redis.call('XADD', KEYS[7], 'MAXLEN', '~', '2000', '*', 'event', 'vote', 'data', ARGV[2])
return {'cast', entry}
"""

# ARGV: mark, stream id. Compares the two numbers of a stream id; a mark never moves backwards.
_ADVANCE = """
local function parts(id)
  local a, b = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(a), tonumber(b) or 0
end
local old = redis.call('HGET', KEYS[1], ARGV[1]) or '0-0'
local a, b = parts(old)
local c, d = parts(ARGV[2])
if c > a or (c == a and d > b) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return redis.call('HGET', KEYS[1], ARGV[1])
"""


class VoteLog:
    """The append-only stream of votes and what is derived from it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._cast = redis.register_script(_CAST)
        self._advance = redis.register_script(_ADVANCE)

    async def cast(self, vote: Vote, duel: Duel | None = None) -> tuple[Vote, bool]:
        """Log the vote; (the vote that counts, whether it is new).

        The same annotator and key again give the first vote back. Raises IdempotencyConflict when that vote
        said something else, AlreadyVoted when the duel is decided, StoreUnavailable when nothing was counted.
        """
        decided = duel.model_copy(update={"vote_id": vote.id}).model_dump_json() if duel else ""
        with available():
            verdict, text = await self._cast(
                keys=[
                    keys.VOTES,
                    keys.VOTE_KEYS,
                    keys.VOTE_BY_ID,
                    keys.nodes(vote.conversation_id, "duels"),
                    keys.votes_of(vote.annotator_id),
                    keys.THUMBS,
                    keys.FEED,
                ],
                args=[
                    f"{vote.annotator_id}:{vote.idempotency_key}",
                    vote.model_dump_json(),
                    vote.id,
                    duel.id if duel else "",
                    decided,
                    f"{vote.annotator_id}:{vote.answer_id}" if vote.answer_id else "",
                    vote.choice,
                ],
            )
        if verdict in ("decided", "gone"):
            raise AlreadyVoted("this duel has its vote already" if verdict == "decided" else "no such duel")
        if verdict == "cast":
            return vote, True
        first = Vote.model_validate_json(text)
        if _meaning(first) != _meaning(vote):
            raise IdempotencyConflict("this Idempotency-Key was used for another vote")
        return first, False

    async def first_with_key(self, annotator_id: str, idempotency_key: str) -> Vote | None:
        """The vote that this annotator cast with this key, if any."""
        with available():
            text = await self._redis.hget(keys.VOTE_KEYS, f"{annotator_id}:{idempotency_key}")
        return Vote.model_validate_json(text) if text else None

    async def read(self, after: str = "0", through: str = "+") -> list[tuple[str, Vote]]:
        """Votes with stream ids in (after, through], oldest first."""
        votes: list[tuple[str, Vote]] = []
        while True:
            with available():
                rows = await self._redis.xrange(keys.VOTES, min=f"({after}", max=through, count=1000)
            votes += [(entry, Vote.model_validate_json(fields["vote"])) for entry, fields in rows]
            if len(rows) < 1000:
                return votes
            after = rows[-1][0]

    async def get(self, vote_id: str) -> Vote | None:
        with available():
            entry = await self._redis.hget(keys.VOTE_BY_ID, vote_id)
            rows = await self._redis.xrange(keys.VOTES, min=entry, max=entry) if entry else []
        return Vote.model_validate_json(rows[0][1]["vote"]) if rows else None

    async def pending(self, after: str) -> int:
        """How many votes after this stream id can make a preference pair (a duel, a or b)."""
        votes = await self.read(after)
        return sum(vote.kind == "duel" and vote.choice in ("a", "b") for _, vote in votes)

    async def total(self) -> int:
        with available():
            return int(await self._redis.xlen(keys.VOTES))

    async def by_annotator(self, annotator_id: str, limit: int = 100) -> list[Vote]:
        """Newest first."""
        with available():
            texts = await self._redis.lrange(keys.votes_of(annotator_id), 0, limit - 1)
        return [Vote.model_validate_json(text) for text in texts]

    async def thumbs(self, annotator_id: str, answer_ids: list[str]) -> dict[str, str]:
        """The annotator's latest thumb on each of these answers."""
        if not answer_ids:
            return {}
        with available():
            found = await self._redis.hmget(keys.THUMBS, [f"{annotator_id}:{one}" for one in answer_ids])
        return {one: thumb for one, thumb in zip(answer_ids, found, strict=True) if thumb}

    async def mark(self, name: str) -> str:
        """Stream id up to which votes were looked at: `attempted_through` or `trained_through`."""
        with available():
            return str(await self._redis.hget(keys.VOTE_MARKS, name) or "0")

    async def advance(self, name: str, through: str) -> None:
        """Move a mark forward; a smaller id changes nothing."""
        with available():
            await self._advance(keys=[keys.VOTE_MARKS], args=[name, through])


def _meaning(vote: Vote) -> str:
    """What a person said, without what the server adds at each try."""
    said = vote.model_dump(include={"kind", "duel_id", "answer_id", "choice"}, mode="json")
    return json.dumps(said, sort_keys=True)
