"""Token pairs for tests: only their lengths matter."""

from __future__ import annotations

from typing import Any

from trainer.pairs import TokenPair


def token_pair(chosen: int = 2, rejected: int = 1, prompt: int = 3, **fields: Any) -> TokenPair:
    """A pair whose answers have the given numbers of tokens."""
    given: dict[str, Any] = {"weight": 1.0, "source": "vote", "new": True} | fields
    return TokenPair([1] * (prompt + chosen), [1] * (prompt + rejected), prompt, **given)
