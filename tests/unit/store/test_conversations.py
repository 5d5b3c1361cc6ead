"""Conversations: trees that are saved whole, found again, and stay deleted."""

from __future__ import annotations

import asyncio

import pytest

from store import keys
from store.connection import Redis
from store.conversations import ConversationGone, Conversations
from store.records import Conversation, Message, new_id, now
from store.trash import GRACE, Trash
from tests.archive_parts import Ask
from tests.present import present

pytestmark = pytest.mark.anyio


def message(conversation: Conversation, parent_id: str | None, text: str) -> Message:
    return Message(
        id=new_id("msg"), conversation_id=conversation.id, parent_id=parent_id, text=text, created_at=now()
    )


async def test_turn_is_found_as_it_was_saved(client: Redis, ask: Ask) -> None:
    conversations, asked = Conversations(client), await ask(client)
    name = asked.conversation.id
    assert await conversations.get(name) == asked.conversation
    assert await conversations.messages(name) == [asked.message]
    assert await conversations.answers(name) == list(asked.answers)
    assert await conversations.duels(name) == [asked.duel]
    assert await conversations.message(name, asked.message.id) == asked.message
    assert await conversations.answer(asked.answers[1].id) == asked.answers[1]
    assert await conversations.duel(asked.duel.id) == asked.duel


async def test_sides_of_a_duel_come_as_a_and_b(client: Redis, ask: Ask) -> None:
    for _ in range(8):  # a hash has no order
        asked = await ask(client)
        sides = [answer.side for answer in await Conversations(client).answers(asked.conversation.id)]
        assert sides == ["a", "b"]


async def test_what_does_not_exist_is_none(client: Redis) -> None:
    conversations = Conversations(client)
    assert await conversations.get("conv_none") is None
    assert await conversations.message("conv_none", "msg_none") is None
    assert await conversations.answer("ans_none") is None
    assert await conversations.duel("duel_none") is None
    assert await conversations.answers("conv_none") == []


async def test_owner_sees_own_conversations_last_changed_first(client: Redis) -> None:
    conversations = Conversations(client)
    first, second = [await conversations.create("ann", title) for title in ("one", "two")]
    await conversations.create("bob", "his")
    assert [one.title for one in await conversations.of_owner("ann")] == ["two", "one"]
    await conversations.change(first, title="one again")
    assert [one.title for one in await conversations.of_owner("ann")] == ["one again", "two"]
    assert [one.title for one in await conversations.of_owner("ann", limit=1)] == ["one again"]
    assert [one.title for one in await conversations.of_owner("ann", after=first.id)] == ["two"]
    assert await conversations.of_owner("ann", after="conv_none") == []
    await Trash(client).put(second, now())
    assert [one.title for one in await conversations.of_owner("ann")] == ["one again"]


async def test_changes_from_an_old_copy_keep_what_others_changed(client: Redis) -> None:
    conversations = Conversations(client)
    old = await conversations.create("ann")
    for number in range(10):
        leaves = [conversations.change(old, leaf_id=f"ans_{number}_{one}") for one in range(4)]
        await asyncio.gather(leaves[0], conversations.change(old, title=f"Rivers {number}"), *leaves[1:])
        after = present(await conversations.get(old.id))
        assert after.title == f"Rivers {number}"
        assert present(after.leaf_id).startswith(f"ans_{number}_")
    assert after.updated_at > old.updated_at


async def test_deleted_conversation_leaves_nothing_and_stays_deleted(client: Redis, ask: Ask) -> None:
    conversations, asked = Conversations(client), await ask(client)
    await Trash(client).put(asked.conversation, now())
    await Trash(client).empty(now() + GRACE)
    # What was under way when it was deleted comes to its end now.
    assert await conversations.save_answer(asked.answers[0]) is False
    assert await conversations.change(asked.conversation, title="back") == asked.conversation
    with pytest.raises(ConversationGone):
        await conversations.open_turn(message(asked.conversation, None, "And now?"))
    assert await conversations.answer(asked.answers[0].id) is None
    assert await conversations.duel(asked.duel.id) is None
    assert await client.keys("heed:*") == [keys.ARCHIVE_CHANGED]


async def test_saved_answer_replaces_the_streaming_one(client: Redis, ask: Ask) -> None:
    conversations, asked = Conversations(client), await ask(client)
    changed = asked.answers[0].model_copy(update={"text": "The Amazon.", "versions": (1, 2)})
    assert await conversations.save_answer(changed) is True
    assert await conversations.answer(changed.id) == changed


async def test_prompt_is_the_branch_up_to_the_message(client: Redis, ask: Ask) -> None:
    conversations, asked = Conversations(client), await ask(client, "Be brief.")
    on_a = message(asked.conversation, asked.answers[0].id, "How long?")
    on_b = message(asked.conversation, asked.answers[1].id, "Are you sure?")
    await conversations.open_turn(on_a)
    await conversations.open_turn(on_b)
    said = [(turn.role, turn.content) for turn in await conversations.prompt(asked.conversation, on_b.id)]
    assert said == [
        ("system", "Be brief."),
        ("user", "Longest?"),
        ("assistant", "The Rhine."),
        ("user", "Are you sure?"),
    ]
    with pytest.raises(KeyError):
        await conversations.prompt(asked.conversation, "msg_none")


async def test_an_answered_message_keeps_the_system_prompt_that_it_was_answered_under(
    client: Redis, ask: Ask
) -> None:
    conversations, asked = Conversations(client), await ask(client, "Be brief.")
    later = message(asked.conversation, asked.answers[0].id, "And now?")
    await conversations.open_turn(later.model_copy(update={"system_prompt": "Be brief."}))
    changed = await conversations.change(asked.conversation, system_prompt="Be long.")
    told = (await conversations.prompt(changed, later.id))[0]
    assert (told.role, told.content) == ("system", "Be brief.")
    to_follow = await conversations.prompt(changed, later.id, system_prompt="")
    assert [turn.role for turn in to_follow] == ["user", "assistant", "user"]
    assert (await conversations.change(changed, system_prompt="")).system_prompt is None
