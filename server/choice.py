"""Which versions a turn gets while a canary runs: by conversation, and the same way each time."""

from __future__ import annotations

import hashlib

from store.records import Canary


def in_canary(conversation_id: str, canary: Canary) -> bool:
    """Whether the conversation is in the canary's share.

    Its place between 0 and 1 is a hash of conversation and version, so a larger share keeps everybody who was
    in, and each canary draws anew.
    """
    digest = hashlib.sha256(f"{canary.number}:{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < canary.share


def versions_of_turn(
    conversation_id: str, canary: Canary | None, ready: int | None, *, is_duel: bool
) -> tuple[int | None, ...]:
    """One version for an answer, two for a duel; None: the active one. `ready`: the canary that is served.

    In the canary's conversations an answer is the candidate's, and a duel the candidate against the active.
    """
    if canary is None or canary.number != ready or not in_canary(conversation_id, canary):
        return (None, None) if is_duel else (None,)
    return (canary.number, None) if is_duel else (canary.number,)
