"""Deleted conversations: out of sight, back when somebody thinks better of it, else gone for good."""

from __future__ import annotations

import asyncio

import pytest

from store import keys
from store.connection import Redis
from store.conversations import Conversations
from store.records import now
from store.trash import GRACE, Trash
from tests.archive_parts import Ask

pytestmark = pytest.mark.anyio


async def test_deleted_is_out_of_sight_for_everybody_at_once(client: Redis, ask: Ask) -> None:
    conversations, asked = Conversations(client), await ask(client)
    await Trash(client).put(asked.conversation, now())
    assert await conversations.get(asked.conversation.id) is None
    assert await conversations.of_owner("ann") == []
    assert await conversations.save_answer(asked.answers[0]) is False


async def test_taken_back_it_is_whole_and_where_it_was_in_the_list(client: Redis, ask: Ask) -> None:
    conversations, trash, asked = Conversations(client), Trash(client), await ask(client)
    newer = await conversations.create("ann", "newer")
    await trash.put(asked.conversation, now())
    assert await trash.get(asked.conversation.id) == asked.conversation
    assert await trash.take_back(asked.conversation) is True
    assert await trash.empty(now() + 2 * GRACE) == 0
    assert await conversations.of_owner("ann") == [newer, asked.conversation]
    assert await conversations.duels(asked.conversation.id) == [asked.duel]
    assert await conversations.answer(asked.answers[1].id) == asked.answers[1]


async def test_it_goes_for_good_when_its_time_is_over_and_not_before(client: Redis, ask: Ask) -> None:
    conversations, trash, asked = Conversations(client), Trash(client), await ask(client)
    at = now()
    await trash.put(asked.conversation, at)
    assert await trash.empty(at + 0.9 * GRACE) == 0
    assert await conversations.messages(asked.conversation.id) != []
    assert sum(await asyncio.gather(*[trash.empty(at + GRACE) for _ in range(4)])) == 1
    assert await trash.take_back(asked.conversation) is False
    assert await client.keys("heed:*") == [keys.ARCHIVE_CHANGED]


async def test_deleting_twice_does_not_bring_anything_back(client: Redis, ask: Ask) -> None:
    trash, asked = Trash(client), await ask(client)
    await trash.put(asked.conversation, now())
    await trash.empty(now() + GRACE)
    await trash.put(asked.conversation, now())
    assert await client.keys("heed:*") == [keys.ARCHIVE_CHANGED]
