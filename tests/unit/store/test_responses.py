"""API responses are kept for a while, within bounds, and join the conversations once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from store import keys
from store.connection import Redis
from store.conversations import Conversations
from store.records import Answer, ChatTurn, Conversation, Duel, Message, Response, Sampling, now
from store.responses import Responses
from store.trash import Trash

pytestmark = pytest.mark.anyio


def response(name: str, text: str = "Blue") -> Response:
    at = now()
    answer = Answer(
        id=f"ans_{name}",
        conversation_id=f"conv_{name}",
        parent_id=f"msg_{name}",
        stream_id=f"conv_{name}.turn",
        state="finished",
        text=text,
        policy_version=1,
        versions=(1,),
        sampling=Sampling(),
        finish_reason="stop",
        created_at=at,
    )
    return Response(
        id=name,
        conversation=Conversation(id=f"conv_{name}", owner_id="acc", title="", created_at=at, updated_at=at),
        message=Message(
            id=f"msg_{name}",
            conversation_id=f"conv_{name}",
            parent_id=None,
            text="Name one.",
            created_at=at,
            before=(ChatTurn(role="user", content="Colours?"), ChatTurn(role="assistant", content="Yes?")),
        ),
        answers=(answer,),
    )


async def test_the_oldest_go_when_there_are_too_many_bytes(client: Redis) -> None:
    responses = Responses(client)
    size = len(response("a").model_dump_json())
    for name in "abcd":
        await responses.keep(response(name), keep_bytes=2 * size)
    kept = [name for name in "abcd" if await responses.get(name)]
    assert kept == ["c", "d"]
    assert int(await client.get(keys.RESPONSE_BYTES)) == 2 * size
    assert await client.llen(keys.RESPONSE_ORDER) == 2


async def test_one_that_is_larger_than_all_of_the_room_is_not_kept(client: Redis) -> None:
    responses = Responses(client)
    await responses.keep(response("a", "x" * 5000), keep_bytes=4000)
    assert await responses.get("a") is None
    assert int(await client.get(keys.RESPONSE_BYTES)) == 0


async def test_the_oldest_go_when_they_are_too_old(client: Redis) -> None:
    responses = Responses(client)
    await responses.keep(response("a"))
    await responses.join(response("a"))
    await responses.keep(response("b"), keep_s=-1)
    assert [await responses.get(name) for name in "ab"] == [None, None]
    assert not await client.exists(keys.RESPONSES, keys.RESPONSES_RATED, keys.RESPONSE_ORDER)


async def test_it_joins_once_with_what_was_said_before(client: Redis) -> None:
    responses, conversations = Responses(client), Conversations(client)
    kept = response("a")
    await responses.join(kept)
    conversation = await conversations.get("conv_a")
    assert conversation is not None
    said = [turn.content for turn in await conversations.prompt(conversation, "msg_a")]
    assert said == ["Colours?", "Yes?", "Name one."]
    assert await conversations.answer("ans_a") == kept.answers[0]
    assert [one.id for one in await conversations.of_owner("acc")] == ["conv_a"]
    await Trash(client).put(conversation, now())
    await Trash(client).empty(now() + timedelta(days=1))
    await responses.join(kept)
    assert await conversations.get("conv_a") is None


async def test_a_duel_that_has_its_vote_keeps_it(client: Redis) -> None:
    responses, conversations = Responses(client), Conversations(client)
    await responses.join(response("a"))
    duel = Duel(
        id="duel_a",
        conversation_id="conv_a",
        parent_id="msg_a",
        stream_id="conv_a.turn",
        answer_a="ans_a",
        answer_b="ans_b",
        seed=0,
        owner_id="acc",
        vote_id="vote_1",
        created_at=now(),
    )
    await responses.pair(duel)
    await responses.pair(duel.model_copy(update={"vote_id": None}))
    assert await conversations.duel("duel_a") == duel
