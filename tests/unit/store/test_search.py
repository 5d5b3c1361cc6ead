"""Search: every word, in titles and texts, newest first, one's own only."""

from __future__ import annotations

import pytest

from store import search as module
from store.conversations import Conversations
from store.search import Search, excerpt

pytestmark = pytest.mark.anyio


async def test_words_are_found_in_titles_messages_and_answers_whatever_their_case(client, ask):
    conversations, asked = Conversations(client), await ask(client)  # Rivers: Longest? The Nile. The Rhine.
    titled = await conversations.create("ann", "The NILE delta")
    found = [(hit.conversation.id, hit.excerpt) for hit in await Search(client).find("ann", "nile the")]
    assert found == [(titled.id, None), (asked.conversation.id, "The Nile.")]
    assert [hit.excerpt for hit in await Search(client).find("ann", "LONG")] == ["Longest?"]


async def test_every_word_must_be_in_the_same_text(client, ask):
    await ask(client)
    assert await Search(client).find("ann", "nile rhine") == []
    assert await Search(client).find("ann", "  ") == []


async def test_others_conversations_are_not_found(client, ask):
    await ask(client)
    assert await Search(client).find("bob", "nile") == []


async def test_titles_are_looked_through_beyond_the_depth_of_texts(client, ask, monkeypatch):
    await ask(client)
    conversations = Conversations(client)
    for _ in range(3):
        await conversations.create("ann", "other")
    monkeypatch.setattr(module, "DEPTH", 2)
    monkeypatch.setattr(module, "BATCH", 2)
    assert await Search(client).find("ann", "nile") == []
    assert len(await Search(client).find("ann", "rivers")) == 1
    assert len(await Search(client).find("ann", "other", limit=2)) == 2


def test_excerpt_is_one_line_around_the_word():
    text = "word " * 40 + "the\n\nneedle stands here " + "more " * 40
    cut = excerpt(text, "needle")
    assert "the needle stands here" in cut
    assert cut.startswith("…")
    assert cut.endswith("…")
    assert excerpt("needle", "needle") == "needle"
