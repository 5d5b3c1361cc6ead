"""What the statistics are computed from: one vote on one duel, without its texts."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Outcome = Literal["a", "b", "tie", "both_bad"]


class Style(NamedTuple):
    """How an answer looks, whatever it says (the elements of Chatbot Arena's style control)."""

    length: int
    """Tokens of the answer; its words where tokens were not counted."""
    headers: int
    lists: int
    bold: int


class JudgedDuel(NamedTuple):
    """A vote on a duel that was blind, leaked no name and counts. Thumbs are never one of these."""

    version_a: int
    version_b: int
    choice: Outcome
    annotator: str
    style_a: Style | None = None
    style_b: Style | None = None

    @property
    def points(self) -> float | None:
        """What side a got: 1, 0.5 of a tie, 0; None when both were bad."""
        return {"a": 1.0, "tie": 0.5, "b": 0.0}.get(self.choice)


_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def style_of(text: str, tokens: int | None = None) -> Style:
    """Counts an answer's length and marks of markdown."""
    return Style(
        length=len(text.split()) if tokens is None else tokens,
        headers=len(_HEADER.findall(text)),
        lists=len(_LIST.findall(text)),
        bold=len(_BOLD.findall(text)),
    )
