"""Conversations: trees of messages and answers, and the duels on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from store import keys
from store.connection import Redis, available
from store.records import Answer, ChatTurn, Conversation, Duel, Message, new_id, now


class Conversations:
    """Reads and writes conversation trees. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def create(self, owner_id: str, title: str = "", system_prompt: str | None = None) -> Conversation:
        at = now()
        conversation = Conversation(
            id=new_id("conv"),
            owner_id=owner_id,
            title=title,
            system_prompt=system_prompt,
            created_at=at,
            updated_at=at,
        )
        await self.save(conversation)
        return conversation

    async def save(self, conversation: Conversation) -> None:
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(keys.CONVERSATIONS, conversation.id, conversation.model_dump_json())
                when = conversation.updated_at.timestamp()
                pipe.zadd(keys.by_owner(conversation.owner_id), {conversation.id: when})
                await pipe.execute()

    async def get(self, conversation_id: str) -> Conversation | None:
        with available():
            text = await self._redis.hget(keys.CONVERSATIONS, conversation_id)
        return Conversation.model_validate_json(text) if text else None

    async def of_owner(self, owner_id: str, limit: int = 200) -> list[Conversation]:
        """The owner's conversations, last changed first."""
        with available():
            ids = await self._redis.zrevrange(keys.by_owner(owner_id), 0, limit - 1)
            texts = await self._redis.hmget(keys.CONVERSATIONS, ids) if ids else []
        return [Conversation.model_validate_json(text) for text in texts if text]

    async def change(
        self, conversation: Conversation, *, title: str | None = None, leaf_id: str | None = None
    ) -> Conversation:
        """Set the title or the shown branch; the changed record."""
        changes: dict[str, str | datetime] = {"updated_at": now()}
        if title is not None:
            changes["title"] = title
        if leaf_id is not None:
            changes["leaf_id"] = leaf_id
        changed = conversation.model_copy(update=changes)
        await self.save(changed)
        return changed

    async def delete(self, conversation: Conversation) -> None:
        """Remove it from the owner's list and its texts. Votes keep their ids and count no more."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hdel(keys.CONVERSATIONS, conversation.id)
                pipe.zrem(keys.by_owner(conversation.owner_id), conversation.id)
                for kind in ("messages", "answers", "duels"):
                    pipe.delete(keys.nodes(conversation.id, kind))
                await pipe.execute()

    async def open_turn(
        self, message: Message | None, answers: Sequence[Answer] = (), duel: Duel | None = None
    ) -> None:
        """Save a message, its answers and their duel in one transaction: all or nothing."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                if message:
                    field = keys.nodes(message.conversation_id, "messages")
                    pipe.hset(field, message.id, message.model_dump_json())
                for answer in answers:
                    field = keys.nodes(answer.conversation_id, "answers")
                    pipe.hset(field, answer.id, answer.model_dump_json())
                    pipe.hset(keys.ANSWER_PLACE, answer.id, answer.conversation_id)
                if duel:
                    field = keys.nodes(duel.conversation_id, "duels")
                    pipe.hset(field, duel.id, duel.model_dump_json())
                    pipe.hset(keys.DUEL_PLACE, duel.id, duel.conversation_id)
                await pipe.execute()

    async def save_answer(self, answer: Answer) -> None:
        with available():
            key = keys.nodes(answer.conversation_id, "answers")
            await self._redis.hset(key, answer.id, answer.model_dump_json())

    async def message(self, conversation_id: str, message_id: str) -> Message | None:
        with available():
            text = await self._redis.hget(keys.nodes(conversation_id, "messages"), message_id)
        return Message.model_validate_json(text) if text else None

    async def answer(self, answer_id: str) -> Answer | None:
        with available():
            place = await self._redis.hget(keys.ANSWER_PLACE, answer_id)
            text = await self._redis.hget(keys.nodes(place, "answers"), answer_id) if place else None
        return Answer.model_validate_json(text) if text else None

    async def duel(self, duel_id: str) -> Duel | None:
        with available():
            place = await self._redis.hget(keys.DUEL_PLACE, duel_id)
            text = await self._redis.hget(keys.nodes(place, "duels"), duel_id) if place else None
        return Duel.model_validate_json(text) if text else None

    async def messages(self, conversation_id: str) -> list[Message]:
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "messages"))
        return sorted(map(Message.model_validate_json, texts), key=lambda node: node.created_at)

    async def answers(self, conversation_id: str) -> list[Answer]:
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "answers"))
        return sorted(map(Answer.model_validate_json, texts), key=lambda node: node.created_at)

    async def duels(self, conversation_id: str) -> list[Duel]:
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "duels"))
        return sorted(map(Duel.model_validate_json, texts), key=lambda node: node.created_at)

    async def prompt(self, conversation: Conversation, message_id: str) -> tuple[ChatTurn, ...]:
        """What the policy is shown: the system prompt and the branch that ends with this message.

        Raises KeyError when the message is not in the conversation.
        """
        messages = {message.id: message for message in await self.messages(conversation.id)}
        answers = {answer.id: answer for answer in await self.answers(conversation.id)}
        turns: list[ChatTurn] = []
        node: str | None = message_id
        while node is not None:
            message = messages[node]
            turns.append(ChatTurn(role="user", content=message.text))
            if message.parent_id is None:
                break
            answer = answers[message.parent_id]
            turns.append(ChatTurn(role="assistant", content=answer.text))
            node = answer.parent_id
        if conversation.system_prompt:
            turns.append(ChatTurn(role="system", content=conversation.system_prompt))
        return tuple(reversed(turns))
