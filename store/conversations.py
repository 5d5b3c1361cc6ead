"""Conversations: trees of messages and answers, and the duels on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from store import keys
from store.archive.conversations import AtRest
from store.connection import Redis, available
from store.records import Answer, ChatTurn, Conversation, Duel, Message, new_id, now


class ConversationGone(Exception):
    """The conversation was deleted meanwhile; nothing was saved."""


# KEYS: conversations, conversations of the owner, changed. ARGV: id, json before, json after, time.
_CHANGE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], 'XX', ARGV[4], ARGV[1])
redis.call('ZINCRBY', KEYS[3], 1, ARGV[1])
return 1
"""

# What a generation saves after its conversation was deleted must not bring texts back.
# KEYS: conversations, messages, answers, duels, places of answers, places of duels, changed.
# ARGV: conversation id, then for each record: index of its hash, index of its places or 0, id, json.
_SAVE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 2, #ARGV, 4 do
  local places = tonumber(ARGV[i + 1])
  redis.call('HSET', KEYS[tonumber(ARGV[i])], ARGV[i + 2], ARGV[i + 3])
  if places > 0 then redis.call('HSET', KEYS[places], ARGV[i + 2], ARGV[1]) end
end
redis.call('ZINCRBY', KEYS[7], 1, ARGV[1])
return 1
"""

_MESSAGES, _ANSWERS, _DUELS = (2, 0), (3, 5), (4, 6)  # indexes into KEYS of _SAVE


class Tree(NamedTuple):
    """A whole conversation; `conversation` is None when it was deleted."""

    conversation: Conversation | None
    messages: dict[str, Message]
    answers: dict[str, Answer]
    duels: dict[str, Duel]


def prompt_in(tree: Tree, message_id: str, system_prompt: str | None = None) -> tuple[ChatTurn, ...]:
    """What the policy is shown, see `Conversations.prompt`. Raises KeyError."""
    turns: list[ChatTurn] = []
    node: str | None = message_id
    while node is not None:
        message = tree.messages[node]
        turns.append(ChatTurn(role="user", content=message.text))
        if message.parent_id is None:
            turns += reversed(message.before)
            break
        answer = tree.answers[message.parent_id]
        turns.append(ChatTurn(role="assistant", content=answer.text))
        node = answer.parent_id
    told = tree.messages[message_id].system_prompt if system_prompt is None else system_prompt
    if told is None and tree.conversation is not None:
        told = tree.conversation.system_prompt
    if told:
        turns.append(ChatTurn(role="system", content=told))
    return tuple(reversed(turns))


class Conversations:
    """Reads and writes conversation trees. Raises StoreUnavailable when Redis is away.

    With `volume` also those that are at rest in the archive: they are read there, and a write wakes them.
    """

    def __init__(self, redis: Redis, volume: Path | None = None) -> None:
        self._redis = redis
        self._at_rest = AtRest(redis, volume)
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
                pipe.zincrby(keys.ARCHIVE_CHANGED, 1, name)
                await pipe.execute()

    async def get(self, conversation_id: str) -> Conversation | None:
        with available():
            text = await self._redis.hget(keys.CONVERSATIONS, conversation_id)
        if text is None and (line := await self._at_rest.get(conversation_id)):
            text = line["conversation"]
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
        return await self.several(ids)

    async def several(self, ids: Sequence[str]) -> list[Conversation]:
        """Those of the conversations that there are."""
        with available():
            texts = await self._redis.hmget(keys.CONVERSATIONS, ids) if ids else []
        found = dict(zip(ids, texts, strict=True))
        at_rest = await self._at_rest.several([name for name, text in found.items() if text is None])
        found |= {name: line["conversation"] for name, line in at_rest.items()}
        return [Conversation.model_validate_json(text) for text in found.values() if text]

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
                if await self._at_rest.wake(conversation.id):
                    continue
                return conversation
            at = now()
            changed = Conversation.model_validate_json(text).model_copy(update={**changes, "updated_at": at})
            with available():
                done = await self._change(
                    keys=[
                        keys.CONVERSATIONS,
                        keys.by_owner(conversation.owner_id),
                        keys.ARCHIVE_CHANGED,
                    ],
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
        text = await self._node(conversation_id, "messages", message_id)
        return Message.model_validate_json(text) if text else None

    async def answer(self, answer_id: str) -> Answer | None:
        text = await self._placed(keys.ANSWER_PLACE, "answers", answer_id)
        return Answer.model_validate_json(text) if text else None

    async def duel(self, duel_id: str) -> Duel | None:
        text = await self._placed(keys.DUEL_PLACE, "duels", duel_id)
        return Duel.model_validate_json(text) if text else None

    async def messages(self, conversation_id: str) -> list[Message]:
        """Oldest first, as the lists below."""
        texts = (await self.nodes([conversation_id], "messages"))[0].values()
        return sorted(map(Message.model_validate_json, texts), key=lambda node: node.created_at)

    async def answers(self, conversation_id: str) -> list[Answer]:
        texts = (await self.nodes([conversation_id], "answers"))[0].values()
        # Both sides of a duel are made at the same moment.
        return sorted(
            map(Answer.model_validate_json, texts), key=lambda one: (one.created_at, one.side or "")
        )

    async def duels(self, conversation_id: str) -> list[Duel]:
        texts = (await self.nodes([conversation_id], "duels"))[0].values()
        return sorted(map(Duel.model_validate_json, texts), key=lambda node: node.created_at)

    async def nodes(self, conversation_ids: Sequence[str], kind: str) -> list[dict[str, str]]:
        """Messages, answers or duels of each conversation: id -> json."""
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in conversation_ids:
                    pipe.hgetall(keys.nodes(name, kind))
                found: list[dict[str, str]] = await pipe.execute()
        empty = [name for name, nodes in zip(conversation_ids, found, strict=True) if not nodes]
        at_rest = await self._at_rest.several(empty)
        return [
            at_rest[name][kind] if name in at_rest else nodes
            for name, nodes in zip(conversation_ids, found, strict=True)
        ]

    async def _placed(self, places: str, kind: str, node_id: str) -> str | None:
        with available():
            place = await self._redis.hget(places, node_id)
        place = place or await self._at_rest.place_of(node_id)
        return await self._node(place, kind, node_id) if place else None

    async def _node(self, conversation_id: str, kind: str, node_id: str) -> str | None:
        with available():
            text: str | None = await self._redis.hget(keys.nodes(conversation_id, kind), node_id)
        if text is None and (line := await self._at_rest.get(conversation_id)):
            text = line[kind].get(node_id)
        return text

    async def prompt(
        self, conversation: Conversation, message_id: str, system_prompt: str | None = None
    ) -> tuple[ChatTurn, ...]:
        """What the policy is shown: the branch that ends with this message, under its system prompt.

        `system_prompt` stands in for the message's own: that of a message that is to follow.
        Raises KeyError when the message is not in the conversation.
        """
        (tree,) = await self.trees([conversation.id])
        return prompt_in(tree._replace(conversation=conversation), message_id, system_prompt)

    async def trees(self, conversation_ids: Sequence[str]) -> list[Tree]:
        """Conversations whole, a few round trips for all of them; None in place of one that is gone."""
        with available():
            texts = await self._redis.hmget(keys.CONVERSATIONS, conversation_ids) if conversation_ids else []
        found = dict(zip(conversation_ids, texts, strict=True))
        at_rest = await self._at_rest.several([name for name, text in found.items() if text is None])
        found |= {name: line["conversation"] for name, line in at_rest.items()}
        messages, answers, duels = [
            await self.nodes(conversation_ids, kind) for kind in ("messages", "answers", "duels")
        ]
        return [
            Tree(
                Conversation.model_validate_json(text) if (text := found[name]) else None,
                {one: Message.model_validate_json(node) for one, node in asked.items()},
                {one: Answer.model_validate_json(node) for one, node in said.items()},
                {one: Duel.model_validate_json(node) for one, node in met.items()},
            )
            for name, asked, said, met in zip(conversation_ids, messages, answers, duels, strict=True)
        ]

    async def _put(self, records: Sequence[tuple[tuple[int, int], Message | Answer | Duel]]) -> None:
        """Save records of one conversation in one step. Raises ConversationGone."""
        if not records:
            return
        conversation_id = records[0][1].conversation_id
        args: list[str | int] = [conversation_id]
        for place, record in records:
            args += [*place, record.id, record.model_dump_json()]
        while True:
            with available():
                if await self._save(keys=_keys(conversation_id), args=args):
                    return
            if not await self._at_rest.wake(conversation_id):
                raise ConversationGone(conversation_id)


def _keys(conversation_id: str) -> list[str]:
    kinds = [keys.nodes(conversation_id, kind) for kind in ("messages", "answers", "duels")]
    return [keys.CONVERSATIONS, *kinds, keys.ANSWER_PLACE, keys.DUEL_PLACE, keys.ARCHIVE_CHANGED]
