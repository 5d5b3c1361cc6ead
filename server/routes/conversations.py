"""Conversations, and the turns that a message opens in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from server import shapes
from server.dependencies import Heed, Me, OwnConversation, Parts
from server.errors import Problem, not_found
from server.limits import limit_messages
from server.turns import Turn
from store.records import Account, Answer, Conversation, Duel, now

router = APIRouter(prefix="/api/v1/conversations", tags=["conversations"])

PAGE = 100
After = Annotated[str | None, Query(description="Only those that follow this conversation in the list")]


@router.get("")
async def list_conversations(heed: Heed, me: Me, after: After = None) -> shapes.ConversationPage:
    """The caller's conversations, last changed first."""
    found = await heed.conversations.of_owner(me.id, PAGE + 1, after)
    items = [shapes.conversation_out(one) for one in found[:PAGE]]
    return shapes.ConversationPage(items=items, more=len(found) > PAGE)


@router.post("", status_code=201)
async def create_conversation(body: shapes.ConversationIn, heed: Heed, me: Me) -> shapes.ConversationOut:
    """An empty conversation."""
    return shapes.conversation_out(await heed.conversations.create(me.id, body.title, body.system_prompt))


@router.get("/{conversation_id}")
async def get_conversation(conversation: OwnConversation, heed: Heed, me: Me) -> shapes.ConversationTree:
    """The whole tree: messages, answers, duels."""
    return await tree(heed, conversation, me)


@router.patch("/{conversation_id}")
async def change_conversation(
    body: shapes.ConversationChange, conversation: OwnConversation, heed: Heed
) -> shapes.ConversationOut:
    """Rename it, show another branch, or set the system prompt of the messages to come."""
    if body.leaf_id is not None:
        leaf = await heed.conversations.answer(body.leaf_id) or await heed.conversations.message(
            conversation.id, body.leaf_id
        )
        if leaf is None or leaf.conversation_id != conversation.id:
            detail, remedy = "there is no such answer or message here", "use the id of one"
            raise Problem(422, "unknown_leaf", detail, field="leaf_id", remedy=remedy)
    changed = await heed.conversations.change(
        conversation, title=body.title, leaf_id=body.leaf_id, system_prompt=body.system_prompt
    )
    return shapes.conversation_out(changed)


@router.delete("/{conversation_id}", status_code=204)
async def delete_conversation(conversation: OwnConversation, heed: Heed) -> None:
    """Delete it; answers under way are stopped first. For a minute `POST .../restore` brings it back."""
    await heed.turns.abandon(conversation.id)
    await heed.trash.put(conversation, now())


@router.post("/{conversation_id}/restore")
async def restore_conversation(conversation_id: str, heed: Heed, me: Me) -> shapes.ConversationOut:
    """Undo its deletion, as long as its texts are there."""
    conversation = await heed.trash.get(conversation_id) or await heed.conversations.get(conversation_id)
    if conversation is None or conversation.owner_id != me.id:
        raise not_found("conversation")
    await heed.trash.take_back(conversation)
    return shapes.conversation_out(conversation)


@router.post("/{conversation_id}/messages", status_code=202, dependencies=[Depends(limit_messages)])
async def say(body: shapes.MessageIn, conversation: OwnConversation, heed: Heed, me: Me) -> shapes.TurnOut:
    """Say something: one answer or a duel of two begins; follow `stream`."""
    return turn_out(
        await heed.turns.say(me, conversation, body.text, body.parent_id, body.mode, body.sampling)
    )


@router.post("/{conversation_id}/answers", status_code=202, dependencies=[Depends(limit_messages)])
async def answer_again(
    body: shapes.AnswersIn, conversation: OwnConversation, heed: Heed, me: Me
) -> shapes.TurnOut:
    """New answers to a message that is there: after a failure, or to compare."""
    return turn_out(await heed.turns.answer_again(me, conversation, body.parent_id, body.mode))


def turn_out(turn: Turn) -> shapes.TurnOut:
    return shapes.TurnOut(
        message=shapes.message_out(turn.message),
        answers=[shapes.answer_out(answer, hidden=turn.duel is not None) for answer in turn.answers],
        duel=shapes.duel_out(turn.duel, turn.answers, None) if turn.duel else None,
        stream=shapes.stream_path(turn.stream_id),
    )


async def tree(heed: Parts, conversation: Conversation, me: Account) -> shapes.ConversationTree:
    messages = await heed.conversations.messages(conversation.id)
    went_on = {message.parent_id for message in messages}
    answers = [
        answer
        for answer in await heed.turns.settled(await heed.conversations.answers(conversation.id))
        if not answer.withdrawn or answer.id in went_on
    ]
    duels = await heed.conversations.duels(conversation.id)
    thumbs = await heed.votes.thumbs(me.id, [answer.id for answer in answers])
    by_id = {answer.id: answer for answer in answers}
    other: dict[str, Answer | None] = {}
    for duel in duels:
        other |= {duel.answer_a: by_id.get(duel.answer_b), duel.answer_b: by_id.get(duel.answer_a)}
    decided = {duel.id for duel in duels if duel.vote_id is not None}
    return shapes.ConversationTree(
        conversation=shapes.conversation_out(conversation),
        messages=[shapes.message_out(one) for one in messages],
        answers=[
            shapes.answer_out(
                one,
                hidden=one.duel_id is not None and one.duel_id not in decided,
                other=other.get(one.id),
                thumb=thumbs.get(one.id),
            )
            for one in answers
        ],
        duels=[await duel_shown(heed, duel, answers) for duel in duels],
    )


async def duel_shown(heed: Parts, duel: Duel, answers: list[Answer]) -> shapes.DuelOut:
    vote = await heed.votes.get(duel.vote_id) if duel.vote_id else None
    return shapes.duel_out(duel, answers, vote)
