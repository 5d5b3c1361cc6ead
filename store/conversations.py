"""Conversations: trees of messages and answers, and the duels on them."""

from __future__ import annotations

from collections.abc import Sequence

from store import keys
from store.connection import Redis, available
from store.records import Answer, ChatTurn, Conversation, Duel, Message, new_id, now


class ConversationGone(Exception):
    """The conversation was deleted meanwhile; nothing was saved."""


# KEYS: conversations, conversations of the owner. ARGV: id, json before, json after, time of the change.
_CHANGE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', ARGV[4], ARGV[1])
return 1
"""

# What a generation saves after its conversation was deleted must not bring texts back.
# KEYS: conversations, messages, answers, duels, places of answers, places of duels.
# ARGV: conversation id, then for each record: index of its hash, index of its places or 0, id, json.
_SAVE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 4 do
  local places = tonumber(ARGV[i + 1])
  redis.call('HSET', KEYS[tonumber(ARGV[i])], ARGV[i + 2], ARGV[i + 3])
  if places > 0 then redis.call('HSET', KEYS[places], ARGV[i + 2], ARGV[1]) end
end
return 1
"""

_MESSAGES, _ANSWERS, _DUELS = (2, 0), (3, 5), (4, 6)  # indexes into KEYS of _SAVE


class Conversations:
    """Reads and writes conversation trees. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._change = redis.register_script(_CHANGE)
        self._save = redis.register_script(_SAVE)

    async def create(
        self, owner_id: str, title: str = "", system_prompt: str | None = None, *, listed: bool = True
    ) -> Conversation:
        """A new, empty conversation; not `listed` where it serves something else, such as the queue."""
        at = now()
        conversation = Conversation(
            id=new_id("conv"),
            owner_id=owner_id,
            title=title,
            system_prompt=system_prompt or None,
            created_at=at,
            updated_at=at,
        )
        await self.add(conversation, listed=listed)
        return conversation

    async def add(
        self,
        conversation: Conversation,
        messages: Sequence[Message] = (),
        answers: Sequence[Answer] = (),
        *,
        listed: bool = True,
    ) -> None:
        """Save a new conversation with what is in it already, as an import has it; all or nothing."""
        name = conversation.id
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                for message in messages:
                    pipe.hset(keys.nodes(name, "messages"), message.id, message.model_dump_json())
                for answer in answers:
                    pipe.hset(keys.nodes(name, "answers"), answer.id, answer.model_dump_json())
                    pipe.hset(keys.ANSWER_PLACE, answer.id, name)
                pipe.hset(keys.CONVERSATIONS, name, conversation.model_dump_json())
                if listed:
                    at = conversation.updated_at.timestamp()
                    pipe.zadd(keys.by_owner(conversation.owner_id), {name: at})
                await pipe.execute()

    async def get(self, conversation_id: str) -> Conversation | None:
        with available():
            text = await self._redis.hget(keys.CONVERSATIONS, conversation_id)
        return Conversation.model_validate_json(text) if text else None

    async def of_owner(self, owner_id: str, limit: int = 200, after: str | None = None) -> list[Conversation]:
        """The owner's conversations, last changed first; `after`: those that follow this one in the list."""
        with available():
            first = 0
            if after is not None:
                rank = await self._redis.zrevrank(keys.by_owner(owner_id), after)
                if rank is None:
                    return []
                first = rank + 1
            ids = await self._redis.zrevrange(keys.by_owner(owner_id), first, first + limit - 1)
            texts = await self._redis.hmget(keys.CONVERSATIONS, ids) if ids else []
        return [Conversation.model_validate_json(text) for text in texts if text]

    async def change(
        self,
        conversation: Conversation,
        *,
        title: str | None = None,
        leaf_id: str | None = None,
        system_prompt: str | None = None,
    ) -> Conversation:
        """Set title, shown branch or system prompt ("" for none), whatever else changed; the changed record.

        A conversation that was deleted meanwhile stays deleted, and is given back as it was.
        """
        wanted = {"title": title, "leaf_id": leaf_id, "system_prompt": system_prompt}
        changes: dict[str, str | None] = {name: value for name, value in wanted.items() if value is not None}
        if system_prompt == "":
            changes["system_prompt"] = None
        while True:
            with available():
                text = await self._redis.hget(keys.CONVERSATIONS, conversation.id)
            if text is None:
                return conversation
            at = now()
            changed = Conversation.model_validate_json(text).model_copy(update={**changes, "updated_at": at})
            with available():
                done = await self._change(
                    keys=[keys.CONVERSATIONS, keys.by_owner(conversation.owner_id)],
                    args=[conversation.id, text, changed.model_dump_json(), at.timestamp()],
                )
            if done:
                return changed

    async def open_turn(
        self, message: Message | None, answers: Sequence[Answer] = (), duel: Duel | None = None
    ) -> None:
        """Save a message, its answers and their duel: all or nothing. Raises ConversationGone."""
        records = [(_MESSAGES, message), *((_ANSWERS, answer) for answer in answers), (_DUELS, duel)]
        await self._put([(place, record) for place, record in records if record is not None])

    async def save_answer(self, answer: Answer) -> bool:
        """Save what an answer has become; False when its conversation was deleted meanwhile."""
        try:
            await self._put([(_ANSWERS, answer)])
        except ConversationGone:
            return False
        return True

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
        """Oldest first, as the lists below."""
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "messages"))
        return sorted(map(Message.model_validate_json, texts), key=lambda node: node.created_at)

    async def answers(self, conversation_id: str) -> list[Answer]:
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "answers"))
        # Both sides of a duel are made at the same moment.
        return sorted(
            map(Answer.model_validate_json, texts), key=lambda one: (one.created_at, one.side or "")
        )

    async def duels(self, conversation_id: str) -> list[Duel]:
        with available():
            texts = await self._redis.hvals(keys.nodes(conversation_id, "duels"))
        return sorted(map(Duel.model_validate_json, texts), key=lambda node: node.created_at)

    async def prompt(
        self, conversation: Conversation, message_id: str, system_prompt: str | None = None
    ) -> tuple[ChatTurn, ...]:
        """What the policy is shown: the branch that ends with this message, under its system prompt.

        `system_prompt` stands in for the message's own: that of a message that is to follow.
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
        told = messages[message_id].system_prompt if system_prompt is None else system_prompt
        if told := conversation.system_prompt if told is None else told:
            turns.append(ChatTurn(role="system", content=told))
        return tuple(reversed(turns))

    async def _put(self, records: Sequence[tuple[tuple[int, int], Message | Answer | Duel]]) -> None:
        """Save records of one conversation in one step. Raises ConversationGone."""
        if not records:
            return
        conversation_id = records[0][1].conversation_id
        args: list[str | int] = [conversation_id]
        for place, record in records:
            args += [*place, record.id, record.model_dump_json()]
        with available():
            if not await self._save(keys=_keys(conversation_id), args=args):
                raise ConversationGone(conversation_id)


def _keys(conversation_id: str) -> list[str]:
    kinds = [keys.nodes(conversation_id, kind) for kind in ("messages", "answers", "duels")]
    return [keys.CONVERSATIONS, *kinds, keys.ANSWER_PLACE, keys.DUEL_PLACE]
