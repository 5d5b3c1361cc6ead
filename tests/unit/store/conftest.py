"""What the store's tests start from: a client, and a conversation with a duel that can be voted on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from store.connection import Redis, connect
from store.records import Duel, Vote, new_id, now
from tests.archive_parts import Ask, VoteOn, asked_in


@pytest.fixture
async def client(redis_url: str, anyio_backend: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as redis:
        yield redis


@pytest.fixture
def ask() -> Ask:
    """A function that opens a turn with a duel in a new conversation."""
    return asked_in


@pytest.fixture
def vote_on() -> VoteOn:
    """A function that makes a vote on a duel, with a new key unless one is given."""
    numbers = itertools.count()

    def made(duel: Duel, choice: str = "a", key: str | None = None, annotator: str = "ann") -> Vote:
        return Vote.model_validate(
            {
                "id": new_id("vote"),
                "kind": "duel",
                "conversation_id": duel.conversation_id,
                "duel_id": duel.id,
                "annotator_id": annotator,
                "choice": choice,
                "version_a": 1,
                "version_b": 1,
                "idempotency_key": key or f"key-{next(numbers)}",
                "created_at": now(),
            }
        )

    return made
