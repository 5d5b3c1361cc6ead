"""The split: which conversations train, and which judge and never train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from store.dataset.pairs import Found
from store.records import PreferencePair


class NotEnoughData(Exception):
    """Too few votes or prompts to train and judge on; the message says what is missing."""


def split_pairs(
    found: Found, share: float
) -> tuple[list[PreferencePair], list[PreferencePair], set[str | None]]:
    """Train pairs, held-out pairs, and the groups (conversations, or items of the queue) that are held out.

    By conversation, because its turns repeat each other: ties and thumbs train with the pairs unless their
    conversation is held out. With pairs of one conversation only by vote, and without ties and thumbs.
    """
    if len({pair.vote_id or pair.conversation_id for pair in found.pairs}) < 2:
        made_none = ", ".join(f"{reason}: {count}" for reason, count in sorted(found.skipped.items()))
        raise NotEnoughData(
            f"votes that make a pair: {len(found.votes)}; at least 2 are needed, one to train and one to"
            f" judge: vote a or b on more duels. Votes that made none: {made_none or '0'}"
        )
    by_vote = len({pair.conversation_id for pair in found.pairs}) == 1
    groups = [pair.vote_id if by_vote else pair.conversation_id for pair in found.pairs]
    may_judge = [group for group in groups if group not in found.taught_only]
    held_out_groups = _held_out(may_judge if len(set(may_judge)) > 1 else groups, share)
    train = [pair for pair, group in zip(found.pairs, groups, strict=True) if group not in held_out_groups]
    held_out = [pair for pair, group in zip(found.pairs, groups, strict=True) if group in held_out_groups]
    if by_vote:
        return train, held_out, set()
    unpaired = set(found.conversations.values()) - set(groups)
    away = held_out_groups | {name for name in unpaired - found.taught_only if fraction(name) < share}
    return [*train, *(hint for hint in found.hints if hint.conversation_id not in away)], held_out, away


def _held_out(groups: Iterable[str | None], share: float) -> set[str | None]:
    """The groups that are held out: at least one, never all; in each run the same ones, by their hash."""
    order = sorted(set(groups), key=fraction)
    below = sum(fraction(group) < share for group in order)
    return set(order[: min(max(below, 1), len(order) - 1)])


def fraction(name: str | None) -> float:
    """A number in [0, 1) that depends on the name only."""
    digest = hashlib.sha256(str(name).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)
