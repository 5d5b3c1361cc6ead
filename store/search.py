"""Words in one's own conversations, a page of them at a time: titles and texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from store import keys
from store.connection import Redis, available
from store.conversations import Conversations
from store.records import Conversation

DEPTH = 500
"""How many conversations a page looks through: a tenth of a second at ten kilobytes each."""
BATCH = 25
AROUND = 60


class Hit(NamedTuple):
    """A conversation that holds every word, and the place where it says the first."""

    conversation: Conversation
    excerpt: str | None
    """None: the title holds every word."""


class Found(NamedTuple):
    """What one page of a search found."""

    hits: list[Hit]
    next: int | None
    """`skip` of the page that goes on; None: everything was looked through."""
    of: int
    """How many conversations there are."""


class Search:
    """Looks through what people said. Raises StoreUnavailable."""

    def __init__(self, redis: Redis, volume: Path | None = None) -> None:
        self._redis = redis
        self._conversations = Conversations(redis, volume)

    async def find(self, owner_id: str, query: str, skip: int = 0, limit: int = 30) -> Found:
        """The owner's conversations whose title, or one of whose texts, holds every word; newest first.

        Case does not matter; a word may be part of a longer one. A page looks through `DEPTH` conversations
        from number `skip`, or until it has `limit` hits. Conversations that change between two pages move
        to the front: some may be found twice, none is missed.
        """
        words = query.casefold().split()
        with available():
            of = await self._redis.zcard(keys.by_owner(owner_id))
            ids = await self._redis.zrevrange(keys.by_owner(owner_id), skip, skip + DEPTH - 1)
        hits: list[Hit] = []
        for start in range(0, len(ids), BATCH):
            batch = await self._conversations.several(ids[start : start + BATCH])
            for conversation, nodes in zip(batch, await self._nodes(batch), strict=True):
                if _holds(conversation.title, words):
                    hits.append(Hit(conversation, None))
                elif text := next(_texts_with(nodes, words), None):
                    hits.append(Hit(conversation, excerpt(text, words[0])))
            if len(hits) >= limit:
                ids = ids[: start + BATCH]
                break
        looked = skip + len(ids)
        return Found(hits, looked if ids and looked < of else None, of)

    async def _nodes(self, conversations: list[Conversation]) -> list[list[str]]:
        """The messages and answers of each conversation, as they are stored."""
        names = [conversation.id for conversation in conversations]
        asked = await self._conversations.nodes(names, "messages")
        answered = await self._conversations.nodes(names, "answers")
        return [[*one.values(), *other.values()] for one, other in zip(asked, answered, strict=True)]


def _texts_with(nodes: list[str], words: list[str]) -> Iterator[str]:
    """The texts that hold every word."""
    # JSON writes a word as it is, unless it has quotes or backslashes: most nodes need not be parsed.
    plain = [word for word in words if json.dumps(word, ensure_ascii=False)[1:-1] == word]
    for node in nodes:
        if _holds(node, plain) or not plain:
            read = json.loads(node)
            if not read.get("withdrawn") and _holds(read["text"], words):
                yield read["text"]


def _holds(text: str, words: list[str]) -> bool:
    folded = text.casefold()
    return bool(words) and all(word in folded for word in words)


def excerpt(text: str, word: str) -> str:
    """The text around the word, on one line; an ellipsis stands for what was cut off."""
    line = " ".join(text.split())
    at = max(0, line.casefold().find(word))
    start = max(0, at - AROUND // 2)
    cut = line[start : at + len(word) + AROUND]
    return f"{'…' if start else ''}{cut}{'…' if start + len(cut) < len(line) else ''}"
