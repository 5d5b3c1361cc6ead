"""Votes become preference pairs, split by conversation into train and held-out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from store.conversations import Conversations
from store.records import Answer, ChatTurn, PreferencePair, Vote
from store.votes import VoteLog


class NotEnoughData(Exception):
    """Too few votes or prompts to train and judge on; the message says what is missing."""


@dataclass
class Found:
    """What the votes came to."""

    pairs: list[PreferencePair] = field(default_factory=list)  # one answer preferred; oldest first
    hints: list[PreferencePair] = field(default_factory=list)  # ties and thumbs: they teach, they never judge
    skipped: Counter[str] = field(default_factory=Counter)
    conversations: dict[str, None] = field(default_factory=dict)  # with any vote, newest vote first
    through: str = "0"


async def find_pairs(votes: VoteLog, conversations: Conversations, max_pairs: int) -> Found:
    """Pairs of the newest votes, at most `max_pairs`, and as many ties and thumbs at most.

    A vote for a or b is a pair, a tie is a pair of which neither is preferred, a thumb stands alone, and
    `both_bad` is a thumb down for each answer.
    """
    rows = await votes.read()
    trained_through = _position(await votes.mark("trained_through"))
    found = Found(through=rows[-1][0] if rows else "0")
    thumbed: set[tuple[str, str | None]] = set()
    for entry, vote in reversed(rows):
        found.conversations[vote.conversation_id] = None
        into = found.pairs if vote.choice in ("a", "b") else found.hints
        if vote.kind == "thumb":  # people change their mind: the newest thumb counts
            if (vote.annotator_id, vote.answer_id) in thumbed:
                continue
            thumbed.add((vote.annotator_id, vote.answer_id))
        if len(into) >= max_pairs:
            found.skipped["beyond max_pairs"] += 1
            continue
        evidence = await _evidence(conversations, vote, new=_position(entry) > trained_through)
        if isinstance(evidence, str):
            found.skipped[evidence] += 1
        else:
            into += reversed(evidence)
    found.pairs.reverse()
    found.hints.reverse()
    return found


async def _evidence(conversations: Conversations, vote: Vote, new: bool) -> list[PreferencePair] | str:
    """What the vote teaches, or why it teaches nothing."""
    conversation = await conversations.get(vote.conversation_id)
    if conversation is None:
        return "conversation deleted"
    if vote.kind == "thumb":
        names = [vote.answer_id or ""]
    else:
        duel = await conversations.duel(vote.duel_id or "")
        names = [duel.answer_a, duel.answer_b] if duel else [""]
    answers = [await conversations.answer(name) for name in names]
    said = [answer for answer in answers if answer is not None]
    if len(said) < len(answers):
        return "conversation deleted"
    if any(answer.state != "finished" for answer in said):
        return "answer unfinished"
    if any(len(set(answer.versions)) != 1 for answer in said):
        return "answer spans versions"
    prompt = await conversations.prompt(conversation, said[0].parent_id)
    lineage = _Lineage(prompt, vote, new)
    if vote.kind == "thumb" or vote.choice == "both_bad":
        return [lineage.thumb(answer, up=vote.choice == "up") for answer in said]
    if said[0].text == said[1].text:
        return "answers equal"
    return [lineage.pair(*(reversed(said) if vote.choice == "b" else said))]


@dataclass(frozen=True)
class _Lineage:
    """What the evidence of one vote has in common."""

    prompt: tuple[ChatTurn, ...]
    vote: Vote
    new: bool

    def pair(self, chosen: Answer, rejected: Answer) -> PreferencePair:
        return self._record(chosen, rejected, "vote", preference=0.5 if self.vote.choice == "tie" else 1.0)

    def thumb(self, answer: Answer, *, up: bool) -> PreferencePair:
        return self._record(answer if up else None, None if up else answer, "thumb", preference=1.0)

    def _record(
        self,
        chosen: Answer | None,
        rejected: Answer | None,
        source: Literal["vote", "thumb"],
        preference: float,
    ) -> PreferencePair:
        return PreferencePair(
            prompt=self.prompt,
            chosen=_turns(chosen),
            rejected=_turns(rejected),
            preference=preference,
            source=source,
            tags=("zh",) if _is_chinese(self.prompt[-1].content) else (),
            vote_id=self.vote.id,
            conversation_id=self.vote.conversation_id,
            new=self.new,
            chosen_ended=chosen is None or chosen.finish_reason == "stop",
            rejected_ended=rejected is None or rejected.finish_reason == "stop",
        )


def _turns(answer: Answer | None) -> tuple[ChatTurn, ...]:
    return (ChatTurn(role="assistant", content=answer.text),) if answer else ()


def _is_chinese(text: str) -> bool:
    """Han characters are a third of the letters, and no kana stands among them."""
    letters = [letter for letter in text if letter.isalpha()]
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    return 3 * han > len(letters) and not any("\u3040" <= letter <= "\u30ff" for letter in letters)


def split_pairs(
    found: Found, share: float
) -> tuple[list[PreferencePair], list[PreferencePair], set[str | None]]:
    """Train pairs, held-out pairs, and the conversations that are held out.

    By conversation, because its turns repeat each other: ties and thumbs train with the pairs unless their
    conversation is held out. With pairs of one conversation only by vote, and without ties and thumbs.
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
    away = held_out_groups | {name for name in unpaired if fraction(name) < share}
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


def _position(entry: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)
