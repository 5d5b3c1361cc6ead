"""The vote log: every vote exactly once, durable before anybody is told that it counts."""

from __future__ import annotations

from store import keys
from store.connection import Redis, available
from store.records import Duel, Vote

_WHAT_A_PERSON_SAID = ("kind", "duel_id", "answer_id", "choice", "comment")


class IdempotencyConflict(Exception):
    """The same idempotency key came with another vote."""


class AlreadyVoted(Exception):
    """The duel takes no vote: `vote_id` decided it, or (None) its conversation was deleted."""

    def __init__(self, message: str, vote_id: str | None = None) -> None:
        super().__init__(message)
        self.vote_id = vote_id


# One script, so that the key, the duel's verdict and the log entry are one write to the append-only file.
# The stream is the truth; the indexes hold entry ids. `pairs` counts the votes so far that make a pair.
# KEYS: votes, idempotency, by id, votes of the annotator, duels of the conversation, thumbs, feed.
# ARGV: idempotency field, vote json, vote id, 1 when it makes a pair, duel id or '', duel json with its vote,
#       thumb field, choice.
_CAST = """
local first = redis.call('HGET', KEYS[2], ARGV[1])
if first then return {'seen', redis.call('XRANGE', KEYS[1], first, first)[1][2][2]} end
if ARGV[5] == '' then
  redis.call('HSET', KEYS[6], ARGV[7], ARGV[8])
else
  local duel = redis.call('HGET', KEYS[5], ARGV[5])
  if not duel then return {'gone', ''} end
  local decided_by = cjson.decode(duel)['vote_id']
  if decided_by ~= cjson.null then return {'decided', decided_by} end
  redis.call('HSET', KEYS[5], ARGV[5], ARGV[6])
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local pairs = (last and tonumber(last[2][4]) or 0) + tonumber(ARGV[4])
local entry = redis.call('XADD', KEYS[1], '*', 'vote', ARGV[2], 'pairs', pairs)
redis.call('HSET', KEYS[2], ARGV[1], entry)
redis.call('HSET', KEYS[3], ARGV[3], entry)
redis.call('LPUSH', KEYS[4], entry)
redis.call('XADD', KEYS[7], 'MAXLEN', '~', 2000, '*', 'event', 'vote', 'data', ARGV[2])
return {'cast', entry}
"""

# A mark never moves backwards. KEYS: marks. ARGV: mark, stream id.
_ADVANCE = """
local function parts(id)
  local time, sequence = string.match(id, '^(%d+)-?(%d*)$')
  return tonumber(time), tonumber(sequence) or 0
end
local old_time, old_sequence = parts(redis.call('HGET', KEYS[1], ARGV[1]) or '0-0')
local time, sequence = parts(ARGV[2])
if time > old_time or (time == old_time and sequence > old_sequence) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""


class VoteLog:
    """The append-only stream of votes and what is derived from it. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._cast = redis.register_script(_CAST)
        self._advance = redis.register_script(_ADVANCE)

    async def cast(self, vote: Vote, duel: Duel | None = None) -> tuple[Vote, bool]:
        """Log the vote, on `duel` when it is about one; (the vote that counts, whether it is new).

        The same annotator and key again give the first vote back. Raises IdempotencyConflict when that vote
        said something else, AlreadyVoted when the duel is decided, StoreUnavailable when it is not known
        whether the vote counts: cast it again with the same key.
        """
        if vote.duel_id != (duel.id if duel else None) or (duel is None) == (vote.answer_id is None):
            raise ValueError("a vote is about one duel, which is given, or about one answer")
        decided = duel.model_copy(update={"vote_id": vote.id}).model_dump_json() if duel else ""
        with available():
            verdict, text = await self._cast(
                keys=[
                    keys.VOTES,
                    keys.VOTE_KEYS,
                    keys.VOTE_BY_ID,
                    keys.votes_of(vote.annotator_id),
                    keys.nodes(vote.conversation_id, "duels"),
                    keys.THUMBS,
                    keys.FEED,
                ],
                args=[
                    f"{vote.annotator_id}:{vote.idempotency_key}",
                    vote.model_dump_json(),
                    vote.id,
                    int(vote.choice in ("a", "b")),
                    vote.duel_id or "",
                    decided,
                    f"{vote.annotator_id}:{vote.answer_id}",
                    vote.choice,
                ],
            )
        if verdict == "gone":
            raise AlreadyVoted("the conversation of this duel was deleted")
        if verdict == "decided":
            raise AlreadyVoted("this duel has its vote already", text)
        if verdict == "cast":
            return vote, True
        first = Vote.model_validate_json(text)
        if any(getattr(first, field) != getattr(vote, field) for field in _WHAT_A_PERSON_SAID):
            raise IdempotencyConflict("this Idempotency-Key was used for another vote")
        return first, False

    async def read(self, after: str = "0", through: str = "+") -> list[tuple[str, Vote]]:
        """(stream id, vote) with ids in (after, through], oldest first."""
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
        votes = await self._entries([entry]) if entry else []
        return votes[0] if votes else None

    async def first_with_key(self, annotator_id: str, idempotency_key: str) -> Vote | None:
        """The vote that this annotator cast with this key, if any."""
        with available():
            entry = await self._redis.hget(keys.VOTE_KEYS, f"{annotator_id}:{idempotency_key}")
        votes = await self._entries([entry]) if entry else []
        return votes[0] if votes else None

    async def by_annotator(self, annotator_id: str, limit: int = 100) -> list[Vote]:
        """Newest first."""
        with available():
            entries = await self._redis.lrange(keys.votes_of(annotator_id), 0, limit - 1)
        return await self._entries(entries)

    async def first_after(self, after: str) -> str | None:
        """Stream id of the first vote after this one."""
        with available():
            rows = await self._redis.xrange(keys.VOTES, min=f"({after}", count=1)
        return str(rows[0][0]) if rows else None

    async def count_by_annotator(self, annotator_id: str) -> int:
        with available():
            return int(await self._redis.llen(keys.votes_of(annotator_id)))

    async def pending(self, after: str) -> int:
        """How many votes after this stream id can make a preference pair (a duel, a or b)."""
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xrevrange(keys.VOTES, count=1)
                pipe.xrevrange(keys.VOTES, max=after, count=1)
                newest, before = await pipe.execute()
        return _pairs_through(newest) - _pairs_through(before)

    async def total(self) -> int:
        """How many votes there are, of any kind."""
        with available():
            return int(await self._redis.xlen(keys.VOTES))

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

    async def _entries(self, entries: list[str]) -> list[Vote]:
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    pipe.xrange(keys.VOTES, min=entry, max=entry)
                found = await pipe.execute()
        return [Vote.model_validate_json(fields["vote"]) for rows in found for _, fields in rows]


def _pairs_through(rows: list[tuple[str, dict[str, str]]]) -> int:
    return int(rows[0][1]["pairs"]) if rows else 0
