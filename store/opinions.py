"""Opinions: what the reward model thought of answers that people voted on. Kept apart from the votes.

An opinion is formed after its vote and is found by the vote only, so no score can come before the verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import Field

from store import keys
from store.connection import Redis, available
from store.locks import shorten
from store.records import PolicyVersion, Record, Vote, now
from store.votes import VoteLog

KEPT = 50_000
"""Opinions, newest first; about 300 bytes each."""
AT_ONCE = 500
LOOKED_THROUGH = 10
"""Opinions that are looked at for one that is wanted: others may be of another model, or of a vote undone."""

# KEYS: opinions, order, counter, trouble, feed. ARGV: how many are kept, event, then vote id, json of each.
_ADD = """
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[i])
end
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[1])
if over > 0 then
  local oldest = redis.call('ZRANGE', KEYS[2], 0, over - 1)
  for _, name in ipairs(oldest) do redis.call('HDEL', KEYS[1], name) end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, over - 1)
end
redis.call('DEL', KEYS[4])
redis.call('XADD', KEYS[5], 'MAXLEN', '~', 2000, '*', 'event', 'opinions', 'data', ARGV[2])
"""


class ScoredAnswer(Record):
    answer_id: str
    score: float


class Opinion(Record):
    """Scores of the answers of one vote, in the order shown, by one reward model.

    It is the model that the newest of the answers' versions was trained to please.
    """

    vote_id: str
    reward_model: int = Field(ge=1)
    answers: tuple[ScoredAnswer, ...]
    learned_from: bool
    """The vote is in the data that this reward model was trained or judged on: it predicts nothing."""
    at: datetime

    @property
    def margin(self) -> float | None:
        """Score of the first answer over the second; None of more than two."""
        return self.thought.margin

    @property
    def thought(self) -> Thought:
        return Thought(self.reward_model, tuple(one.score for one in self.answers), self.learned_from)


class Thought(NamedTuple):
    """An opinion without its names: what the statistics keep of each in memory."""

    reward_model: int
    scores: tuple[float, ...]
    learned_from: bool

    @property
    def margin(self) -> float | None:
        return self.scores[0] - self.scores[1] if len(self.scores) == 2 else None


class Trouble(Record):
    """Why opinions could not be formed lately."""

    tries: int
    error: str
    at: datetime


class Opinions:
    """Written by the workers, read by everybody. Raises StoreUnavailable."""

    def __init__(self, redis: Redis, kept: int = KEPT) -> None:
        self._redis = redis
        self._kept = kept
        self._add = redis.register_script(_ADD)

    async def add(self, opinions: Sequence[Opinion]) -> None:
        """Store them, tell the feed, let go of the oldest beyond what is kept; safe to repeat."""
        told = json.dumps({"votes": [opinion.vote_id for opinion in opinions]})
        rows = [word for one in opinions for word in (one.vote_id, one.model_dump_json())]
        with available():
            await self._add(
                keys=[
                    keys.OPINIONS,
                    keys.OPINION_ORDER,
                    keys.OPINION_COUNTER,
                    keys.OPINION_TROUBLE,
                    keys.FEED,
                ],
                args=[self._kept, told, *rows],
            )

    async def get(self, vote_id: str) -> Opinion | None:
        return (await self.several([vote_id])).get(vote_id)

    async def several(self, vote_ids: Sequence[str]) -> dict[str, Opinion]:
        """Those that there are, by vote."""
        with available():
            found = await self._redis.hmget(keys.OPINIONS, vote_ids) if vote_ids else []
        opinions = [Opinion.model_validate_json(text) for text in found if text]
        return {opinion.vote_id: opinion for opinion in opinions}

    async def formed(self) -> int:
        """How many were ever formed: the number of the newest."""
        with available():
            return int(await self._redis.get(keys.OPINION_COUNTER) or 0)

    async def of_the_first(self, formed: int, vote_ids: Sequence[str]) -> dict[str, Opinion]:
        """Those on these votes that are among the first `formed`, by vote."""
        with available():
            numbers = await self._redis.zmscore(keys.OPINION_ORDER, vote_ids) if vote_ids else []
        named = zip(vote_ids, numbers, strict=True)
        return await self.several([name for name, number in named if number is not None and number <= formed])

    async def after(self, number: int, limit: int = AT_ONCE) -> tuple[int, list[Opinion]]:
        """(The number of the last one, the next ones after `number`), oldest first."""
        with available():
            rows = await self._redis.zrange(
                keys.OPINION_ORDER, f"({number}", "+inf", byscore=True, offset=0, num=limit, withscores=True
            )
        found = await self.several([name for name, _ in rows])
        return int(rows[-1][1]) if rows else number, [found[name] for name, _ in rows if name in found]

    async def newest(self, limit: int, skip: int = 0) -> list[Opinion]:
        """Newest first."""
        with available():
            names = await self._redis.zrevrange(keys.OPINION_ORDER, skip, skip + limit - 1)
        found = await self.several(names)
        return [found[name] for name in names if name in found]

    async def may_begin(self, every_s: float) -> bool:
        """Whether nobody was told to form opinions within `every_s`; then somebody is now."""
        ms = max(1, int(every_s * 1000))
        with available():
            begins = bool(await self._redis.set(keys.OPINIONS_BEGUN, 1, nx=True, px=ms))
        if not begins:
            await shorten(self._redis, keys.OPINIONS_BEGUN, every_s)
        return begins

    async def failed(self, error: str) -> int:
        """Note a failure; how many there were since opinions were formed last."""
        with available():
            text = await self._redis.get(keys.OPINION_TROUBLE)
            tries = Trouble.model_validate_json(text).tries + 1 if text else 1
            trouble = Trouble(tries=tries, error=error, at=now())
            await self._redis.set(keys.OPINION_TROUBLE, trouble.model_dump_json())
        return tries

    async def trouble(self) -> Trouble | None:
        with available():
            text = await self._redis.get(keys.OPINION_TROUBLE)
        return Trouble.model_validate_json(text) if text else None


async def agreement_of_recent_votes(redis: Redis, limit: int) -> tuple[int, int]:
    """(right, n) of the active version's reward model, on the newest `limit` votes that it predicted.

    Prequential (Dawid 1984, Statistical theory: the prequential approach): a vote counts when the model had
    not learned from it. Active votes for a or b, no checks, no answer that named its model; equal scores are
    wrong. (0, 0) without such votes, or when the active version has no reward model.
    """
    opinions, votes = Opinions(redis), VoteLog(redis)
    number = await _reward_model(redis)
    right = n = skip = 0
    most = max(AT_ONCE, LOOKED_THROUGH * limit)
    while number is not None and skip < most and (some := await opinions.newest(AT_ONCE, skip)):
        skip += len(some)
        said = {vote.id: vote for vote in await votes.several([one.vote_id for one in some])}
        for opinion in some:
            if n == limit:
                return right, n
            if opinion.reward_model == number and (is_right := predicted(opinion, said)) is not None:
                right, n = right + is_right, n + 1
    return right, n


def predicted(opinion: Opinion, votes: Mapping[str, Vote]) -> bool | None:
    """Whether the higher score won; None when the vote says nothing about that, or the model had seen it."""
    vote, margin = votes.get(opinion.vote_id), opinion.margin
    if vote is None or margin is None or opinion.learned_from or not _counts(vote):
        return None
    return margin > 0 if vote.choice == "a" else margin < 0


def _counts(vote: Vote) -> bool:
    decisive = vote.kind == "duel" and vote.choice in ("a", "b")
    return decisive and vote.status == "active" and vote.check is None and not vote.leaked


async def _reward_model(redis: Redis) -> int | None:
    """Of the active version."""
    with available():
        number = await redis.get(keys.POLICY_ACTIVE)
        text = await redis.hget(keys.POLICIES, number) if number else None
    return PolicyVersion.model_validate_json(text).reward_model if text else None
