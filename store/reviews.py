"""Reviewers' verdicts on votes: kept beside the annotator's vote, never instead of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store import keys
from store.connection import Redis, available
from store.records import Record


class Review(Record):
    """What a reviewer would have voted. A later one of the same vote replaces it; the stream keeps both."""

    vote_id: str
    by: str
    choice: Literal["a", "b", "tie", "both_bad", "up", "down"]
    note: str = Field(default="", max_length=2000)
    at: datetime


class Reviews:
    """The stream of reviews. Raises StoreUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def append(self, review: Review) -> None:
        with available():
            await self._redis.xadd(keys.REVIEWS, {"review": review.model_dump_json()})

    async def after(self, entry: str) -> list[tuple[str, Review]]:
        """(stream id, review) after this stream id, oldest first."""
        with available():
            rows = await self._redis.xrange(keys.REVIEWS, min=f"({entry}")
        return [(one, Review.model_validate_json(fields["review"])) for one, fields in rows]
