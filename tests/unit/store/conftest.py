"""What the store's tests start from: a client, and a conversation with a duel that can be voted on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest

from store.connection import Redis, connect
from store.conversations import Conversations
from store.records import Answer, Conversation, Duel, Message, Sampling, Vote, new_id, now


@pytest.fixture
async def client(redis_url: str, anyio_backend: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as redis:
        yield redis


class Asked(NamedTuple):
    conversation: Conversation
    message: Message
    answers: tuple[Answer, Answer]
    duel: Duel


@pytest.fixture
def ask() -> Callable[[Redis], object]:
    """A function that opens a turn with a duel in a new conversation."""

    async def opened(redis: Redis, system_prompt: str | None = None) -> Asked:
        conversations = Conversations(redis)
        conversation = await conversations.create("ann", "Rivers", system_prompt)
        at, stream = now(), new_id("turn")
        message = Message(
            id=new_id("msg"), conversation_id=conversation.id, parent_id=None, text="Longest?", created_at=at
        )
        duel_id = new_id("duel")
        a, b = (
            Answer(
                id=new_id("ans"),
                conversation_id=conversation.id,
                parent_id=message.id,
                stream_id=stream,
                duel_id=duel_id,
                side=side,
                state="finished",
                text=text,
                policy_version=1,
                versions=(1,),
                sampling=Sampling(),
                created_at=at,
            )
            for side, text in (("a", "The Nile."), ("b", "The Rhine."))
        )
        duel = Duel(
            id=duel_id,
            conversation_id=conversation.id,
            parent_id=message.id,
            stream_id=stream,
            answer_a=a.id,
            answer_b=b.id,
            seed=7,
            owner_id="ann",
            created_at=at,
        )
        await conversations.open_turn(message, (a, b), duel)
        return Asked(conversation, message, (a, b), duel)

    return opened


@pytest.fixture
def vote_on() -> Callable[..., Vote]:
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
