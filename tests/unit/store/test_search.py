"""Search: every word, in titles and texts, newest first, one's own only."""

from __future__ import annotations

import pytest

from store import search as module
from store.connection import Redis
from store.conversations import Conversations
from store.search import Hit, Search, excerpt
from tests.archive_parts import Ask

pytestmark = pytest.mark.anyio


async def find(client: Redis, words: str, owner: str = "ann") -> list[Hit]:
    return (await Search(client).find(owner, words)).hits


async def test_words_are_found_in_titles_messages_and_answers_whatever_their_case(
    client: Redis, ask: Ask
) -> None:
    conversations, asked = Conversations(client), await ask(client)  # Rivers: Longest? The Nile. The Rhine.
    titled = await conversations.create("ann", "The NILE delta")
    found = [(hit.conversation.id, hit.excerpt) for hit in await find(client, "nile the")]
    assert found == [(titled.id, None), (asked.conversation.id, "The Nile.")]
    assert [hit.excerpt for hit in await find(client, "LONG")] == ["Longest?"]


async def test_every_word_must_be_in_the_same_text(client: Redis, ask: Ask) -> None:
    await ask(client)
    assert await find(client, "nile rhine") == []
    assert await find(client, "  ") == []


async def test_names_of_fields_are_no_words_and_quotes_are_found(client: Redis, ask: Ask) -> None:
    asked = await ask(client)
    assert await find(client, "conversation_id") == []
    quoted = asked.message.model_copy(update={"id": "msg_2", "text": 'They said "C:\\new" twice.'})
    await Conversations(client).open_turn(quoted)
    assert [hit.excerpt for hit in await find(client, '"c:\\new" said')] == ['They said "C:\\new" twice.']


async def test_others_conversations_are_not_found(client: Redis, ask: Ask) -> None:
    await ask(client)
    assert await find(client, "nile", owner="bob") == []


async def test_pages_look_through_every_conversation(
    client: Redis, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, conversations = await ask(client), Conversations(client)
    for _ in range(3):
        await conversations.create("ann", "other")
    monkeypatch.setattr(module, "DEPTH", 2)
    monkeypatch.setattr(module, "BATCH", 1)
    assert await Search(client).find("ann", "nile") == ([], 2, 4)
    hits, after, of = await Search(client).find("ann", "nile", skip=2)
    assert ([hit.conversation.id for hit in hits], after, of) == ([asked.conversation.id], None, 4)


async def test_a_page_ends_when_it_is_full(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        await Conversations(client).create("ann", f"other {number}")
    monkeypatch.setattr(module, "BATCH", 1)
    first, after, _ = await Search(client).find("ann", "other", limit=2)
    assert ([hit.conversation.title for hit in first], after) == (["other 2", "other 1"], 2)
    rest, end, _ = await Search(client).find("ann", "other", skip=2, limit=2)
    assert ([hit.conversation.title for hit in rest], end) == (["other 0"], None)


def test_excerpt_is_one_line_around_the_word() -> None:
    text = "word " * 40 + "the\n\nneedle stands here " + "more " * 40
    cut = excerpt(text, "needle")
    assert "the needle stands here" in cut
    assert cut.startswith("…")
    assert cut.endswith("…")
    assert excerpt("needle", "needle") == "needle"
