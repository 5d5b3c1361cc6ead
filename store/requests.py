"""Requests: who asked for a training while one was open. Each waits its turn, one a person."""

from __future__ import annotations

from datetime import datetime

from store import keys
from store.connection import Redis, available
from store.records import Record, new_id, now


class RequestWaits(Exception):
    """This person's request waits already; `args[0]` is its id."""


class TrainingRequest(Record):
    """Somebody wants a training on the votes there will be when the open one has ended."""

    id: str
    actor: str
    reason: str
    at: datetime


class Requests:
    """The queue of requests. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, actor: str, reason: str) -> TrainingRequest:
        """Wait in the queue. Raises RequestWaits when this person does already."""
        request = TrainingRequest(id=new_id("req"), actor=actor, reason=reason, at=now())
        with available():
            added = await self._redis.hsetnx(keys.RUN_REQUESTS, actor, request.model_dump_json())
            text = None if added else await self._redis.hget(keys.RUN_REQUESTS, actor)
        if text:
            raise RequestWaits(TrainingRequest.model_validate_json(text).id)
        return request

    async def waiting(self) -> list[TrainingRequest]:
        """Oldest first: in the order in which they start."""
        with available():
            texts = await self._redis.hvals(keys.RUN_REQUESTS)
        return sorted(map(TrainingRequest.model_validate_json, texts), key=lambda one: (one.at, one.id))

    async def cancel(self, request_id: str) -> TrainingRequest | None:
        """Take a request out; None when it does not wait (any more)."""
        request = next((one for one in await self.waiting() if one.id == request_id), None)
        if request is None:
            return None
        with available():
            removed = await self._redis.hdel(keys.RUN_REQUESTS, request.actor)
        return request if removed else None
