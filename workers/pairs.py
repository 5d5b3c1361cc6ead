"""Votes become preference pairs, split by conversation into train and held-out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from store.conversations import Conversations
from store.records import ChatTurn, PreferencePair, Vote
from store.votes import VoteLog


class NotEnoughData(Exception):
    """Too few votes or prompts to train and judge on; the message says what is missing."""


@dataclass
class Found:
    """What the votes came to."""

    pairs: list[PreferencePair] = field(default_factory=list)  # oldest first
    skipped: Counter[str] = field(default_factory=Counter)
    conversations: dict[str, None] = field(default_factory=dict)  # with any vote, newest vote first
    through: str = "0"


async def find_pairs(votes: VoteLog, conversations: Conversations, max_pairs: int) -> Found:
    """Pairs of the newest votes, at most `max_pairs`."""
    rows = await votes.read()
    trained_through = _position(await votes.mark("trained_through"))
    found = Found(through=rows[-1][0] if rows else "0")
    for entry, vote in reversed(rows):
        found.conversations[vote.conversation_id] = None
        if vote.kind != "duel" or vote.choice not in ("a", "b"):
            continue
        if len(found.pairs) == max_pairs:
            found.skipped["beyond max_pairs"] += 1
            continue
        pair = await _pair(conversations, vote, new=_position(entry) > trained_through)
        if isinstance(pair, str):
            found.skipped[pair] += 1
        else:
            found.pairs.append(pair)
    found.pairs.reverse()
    return found


async def _pair(conversations: Conversations, vote: Vote, new: bool) -> PreferencePair | str:
    """The vote's preference pair, or why it makes none."""
    conversation = await conversations.get(vote.conversation_id)
    duel = await conversations.duel(vote.duel_id or "")
    if conversation is None or duel is None:
        return "conversation deleted"
    a, b = await conversations.answer(duel.answer_a), await conversations.answer(duel.answer_b)
    if a is None or b is None:
        return "conversation deleted"
    if a.state != "finished" or b.state != "finished":
        return "answer unfinished"
    if len(set(a.versions)) != 1 or len(set(b.versions)) != 1:
        return "answer spans versions"
    if a.text == b.text:
        return "answers equal"
    chosen, rejected = (a, b) if vote.choice == "a" else (b, a)
    return PreferencePair(
        prompt=await conversations.prompt(conversation, duel.parent_id),
        chosen=(ChatTurn(role="assistant", content=chosen.text),),
        rejected=(ChatTurn(role="assistant", content=rejected.text),),
        vote_id=vote.id,
        conversation_id=vote.conversation_id,
        new=new,
        chosen_ended=chosen.finish_reason == "stop",
        rejected_ended=rejected.finish_reason == "stop",
    )


def split_pairs(
    found: Found, share: float
) -> tuple[list[PreferencePair], list[PreferencePair], set[str | None]]:
    """Train pairs, held-out pairs, and the conversations that are held out.

    By conversation, because its turns repeat each other; with one conversation only, by vote.
    """
    if len(found.pairs) < 2:
        made_none = ", ".join(f"{reason}: {count}" for reason, count in sorted(found.skipped.items()))
        raise NotEnoughData(
            f"votes that make a pair: {len(found.pairs)}; at least 2 are needed, one to train and one to"
            f" judge: vote a or b on more duels. Votes that made none: {made_none or '0'}"
        )
    by_vote = len({pair.conversation_id for pair in found.pairs}) == 1
    groups = [pair.vote_id if by_vote else pair.conversation_id for pair in found.pairs]
    held_out_groups = _held_out(groups, share)
    train = [pair for pair, group in zip(found.pairs, groups, strict=True) if group not in held_out_groups]
    held_out = [pair for pair, group in zip(found.pairs, groups, strict=True) if group in held_out_groups]
    if by_vote:
        return train, held_out, set()
    unpaired = found.conversations.keys() - set(groups)
    return train, held_out, held_out_groups | {name for name in unpaired if fraction(name) < share}


def _held_out(groups: Iterable[str | None], share: float) -> set[str | None]:
    """The groups that are held out: at least one, never all; in each run the same ones, by their hash."""
    order = sorted(set(groups), key=fraction)
    below = sum(fraction(group) < share for group in order)
    return set(order[: min(max(below, 1), len(order) - 1)])


def fraction(name: str | None) -> float:
    """A number in [0, 1) that depends on the name only."""
    digest = hashlib.sha256(str(name).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def _position(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
