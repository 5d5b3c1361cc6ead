"""Words in one's own conversations: titles of all, texts of the newest few hundred."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from store import keys
from store.connection import Redis, available
from store.conversations import Conversations
from store.records import Conversation

DEPTH = 500
"""In how many conversations, newest first, the texts are looked through."""
BATCH = 25
AROUND = 60


class Hit(NamedTuple):
    """A conversation that holds every word, and the place where it says the first."""

    conversation: Conversation
    excerpt: str | None
    """None: the title holds every word."""


class Search:
    """Looks through what people said. Raises StoreUnavailable."""

    def __init__(self, redis: Redis, volume: Path | None = None) -> None:
        self._redis = redis
        self._conversations = Conversations(redis, volume)

    async def find(self, owner_id: str, query: str, limit: int = 30) -> list[Hit]:
        """The owner's conversations whose title, or one of whose texts, holds every word; newest first.

        Case does not matter; a word may be part of a longer one.
        """
        words = query.casefold().split()
        with available():
            everything = await self._redis.zcard(keys.by_owner(owner_id))
        found = await self._conversations.of_owner(owner_id, limit=everything)
        hits: list[Hit] = []
        for start in range(0, len(found), BATCH):
            batch = found[start : start + BATCH]
            texts = await self._texts(batch) if start < DEPTH else [[]] * len(batch)
            for conversation, said in zip(batch, texts, strict=True):
                if _holds(conversation.title, words):
                    hits.append(Hit(conversation, None))
                elif text := next((text for text in said if _holds(text, words)), None):
                    hits.append(Hit(conversation, excerpt(text, words[0])))
                if len(hits) == limit:
                    return hits
        return hits

    async def _texts(self, conversations: list[Conversation]) -> list[list[str]]:
        """What was said in each conversation."""
        names = [conversation.id for conversation in conversations]
        asked = await self._conversations.nodes(names, "messages")
        answered = await self._conversations.nodes(names, "answers")
        return [
            [str(json.loads(node)["text"]) for node in (*one.values(), *other.values())]
            for one, other in zip(asked, answered, strict=True)
        ]


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
