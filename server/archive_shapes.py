"""What search, export and import of conversations take and give."""

from __future__ import annotations

from typing import Literal

from server.shapes import ConversationOut, ConversationTree, Out


class SearchHit(Out):
    conversation: ConversationOut
    excerpt: str | None
    """Where a text says the first word; None when the title holds them all."""


class SearchPage(Out):
    items: list[SearchHit]
    next: int | None
    """`skip` of the page that goes on; null when everything was looked through."""
    of: int
    """How many conversations the caller has."""


class ExportedConversation(ConversationTree):
    """A conversation as a file: what the page shows of it, and what an import takes."""

    format: Literal["heed-conversation-1"] = "heed-conversation-1"
