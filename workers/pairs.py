"""Votes become preference pairs, split by conversation into train and held-out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from store.conversations import Conversations
from store.records import Answer, ChatTurn, Demonstration, PreferencePair, Vote
from store.stream_ids import position
from store.votes import VoteLog

NAMED_ITSELF = "answer named its model"


class NotEnoughData(Exception):
    """Too few votes or prompts to train and judge on; the message says what is missing."""


MUCH_BETTER_MARGIN = 1.0
"""Margin of "much better", as Llama 2 has it for "significantly better" (arXiv 2307.09288, table 27, small).

A margin, not a weight: the scores are to lie further apart, but one person's emphasis is no second vote.
"""


_USABLE: dict[str, tuple[str, ...]] = {"edit": ("finished", "stopped")}
"""States of the answers that a vote of this kind can teach about; of the others only finished ones."""


@dataclass
class Found:
    """What the votes came to."""

    pairs: list[PreferencePair] = field(default_factory=list)  # one answer preferred; oldest first
    hints: list[PreferencePair] = field(default_factory=list)  # ties and thumbs: they teach, they never judge
    demonstrations: list[Demonstration] = field(default_factory=list)  # ideal answers; oldest first
    skipped: Counter[str] = field(default_factory=Counter)
    conversations: dict[str, str] = field(default_factory=dict)  # -> its group; newest vote first
    through: str = "0"

    @property
    def votes(self) -> set[str | None]:
        """The votes that made a pair."""
        return {pair.vote_id for pair in self.pairs if pair.vote_id}

    def add_imported(self, pairs: Iterable[PreferencePair], max_pairs: int) -> None:
        """Imported data beside the votes, at most as many: pairs train and judge, single answers train."""
        given = list(pairs)[-max_pairs:] if max_pairs else []
        self.pairs[:0] = [pair for pair in given if pair.source == "import"]
        self.hints[:0] = [pair for pair in given if pair.source == "thumb"]


async def find_pairs(votes: VoteLog, conversations: Conversations, max_pairs: int) -> Found:
    """Pairs of the newest votes, about `max_pairs` at most, and as many ties and thumbs at most.

    A vote for a or b is a pair, a tie is a pair of which neither is preferred, a thumb stands alone, and
    `both_bad` is a thumb down for each answer. A ranking is all its pairs, which together weigh as much as
    one; an ideal answer is a pair (better than what it was written from) and a demonstration.
    """
    rows = await votes.read()
    trained_through = position(await votes.mark("trained_through"))
    found = Found(through=rows[-1][0] if rows else "0")
    thumbed: set[tuple[str, str | None]] = set()
    for entry, vote in reversed(rows):
        if vote.kind == "thumb":  # people change their mind: the newest thumb counts, or its undoing
            if (vote.annotator_id, vote.answer_id) in thumbed:
                continue
            thumbed.add((vote.annotator_id, vote.answer_id))
        if reason := _left_out(vote):
            found.skipped[reason] += 1
            continue
        found.conversations.setdefault(vote.conversation_id, _group(vote))
        if len(found.pairs if vote.makes_pair else found.hints) >= max_pairs:
            found.skipped["beyond max_pairs"] += 1
            continue
        evidence = await _evidence(conversations, vote, new=position(entry) > trained_through)
        if isinstance(evidence, str):
            found.skipped[evidence] += 1
            continue
        for pair in reversed(evidence):
            (found.pairs if pair.source == "vote" and pair.preference == 1.0 else found.hints).append(pair)
        if vote.kind == "edit":
            found.demonstrations.append(_demonstration(evidence[0], vote))
    for kind in (found.pairs, found.hints, found.demonstrations):
        kind.reverse()
    return found


def _left_out(vote: Vote) -> str | None:
    """Why a vote is not looked at, whatever it says."""
    if vote.status == "excluded" and vote.leaked and vote.exclusion and vote.exclusion.by == "heed":
        return NAMED_ITSELF
    if vote.status != "active":
        return vote.status
    if vote.check is not None:
        return "measures the annotator"
    return "skipped by the annotator" if vote.choice == "skip" else None


async def _evidence(conversations: Conversations, vote: Vote, new: bool) -> list[PreferencePair] | str:
    """What the vote teaches, or why it teaches nothing."""
    conversation = await conversations.get(vote.conversation_id)
    if conversation is None:
        return "conversation deleted"
    answers = [await conversations.answer(name) for name in await _about(conversations, vote)]
    said = [answer for answer in answers if answer is not None]
    if len(said) < len(answers):
        return "conversation deleted"
    if vote.early:
        said = as_seen(said)
    if any(answer.state not in _USABLE.get(vote.kind, ("finished",)) for answer in said):
        return "answer unfinished"
    if any(len(set(answer.versions)) != 1 for answer in said):
        return "answer spans versions"
    # Of an early vote it is known only now; a reviewer may have let a known one pass.
    if not vote.leaked and any(answer.leak for answer in said):
        return NAMED_ITSELF
    lineage = _Lineage(await conversations.prompt(conversation, said[0].parent_id), vote, new)
    if vote.kind == "thumb" or vote.choice == "both_bad":
        return [lineage.thumb(answer, up=vote.choice == "up") for answer in said]
    if vote.kind == "ranking":
        return lineage.ranked(said) or "answers equal"
    if said[0].text == said[1].text:
        return "answers equal"
    better_second = vote.choice in ("b", "edited")
    return [lineage.pair(*(reversed(said) if better_second else said))]


async def _about(conversations: Conversations, vote: Vote) -> list[str]:
    """The ids of the answers that the vote is about, in the order shown."""
    if vote.kind == "thumb":
        return [vote.answer_id or ""]
    if vote.duel_id is None:
        return [answer.answer_id for answer in vote.answers]
    duel = await conversations.duel(vote.duel_id)
    return [duel.answer_a, duel.answer_b] if duel else [""]


def as_seen(said: list[Answer]) -> list[Answer]:
    """Both sides of an early vote, as long as the one that the vote stopped.

    What the other one went on to say was not judged, and pairs that are longer on the preferred side because
    of the vote itself would teach that longer is better.
    """
    lengths = [len(answer.text) for answer in said if answer.state == "stopped"]
    if not lengths or not (cut := min(lengths)):
        return said
    return [
        answer.model_copy(update={"state": "finished", "text": answer.text[:cut], "finish_reason": "length"})
        if answer.state == "stopped" or (answer.state == "finished" and len(answer.text) > cut)
        else answer
        for answer in said
    ]


@dataclass(frozen=True)
class _Lineage:
    """What the evidence of one vote has in common."""

    prompt: tuple[ChatTurn, ...]
    vote: Vote
    new: bool

    def pair(self, chosen: Answer, rejected: Answer) -> PreferencePair:
        return self._record(
            chosen,
            rejected,
            "vote",
            preference=0.5 if self.vote.choice == "tie" else 1.0,
            margin=MUCH_BETTER_MARGIN if self.vote.strength == 2 else 0.0,
        )

    def ranked(self, said: list[Answer]) -> list[PreferencePair]:
        """All pairs, each of weight 2 / (n (n - 1)) (arXiv 2203.02155, eq. 1); ties prefer neither."""
        ranks = {answer.answer_id: answer.rank or 1 for answer in self.vote.answers}
        pairs = []
        for two in combinations(said, 2):
            if two[0].text == two[1].text:
                continue
            better, worse = sorted(two, key=lambda answer: ranks[answer.id])
            tie = ranks[better.id] == ranks[worse.id]
            pairs.append(
                self._record(
                    better,
                    worse,
                    "vote",
                    preference=0.5 if tie else 1.0,
                    weight=2.0 / (len(said) * (len(said) - 1)),
                    ranking_id=self.vote.id,
                )
            )
        return pairs

    def thumb(self, answer: Answer, *, up: bool) -> PreferencePair:
        return self._record(answer if up else None, None if up else answer, "thumb")

    def _record(
        self,
        chosen: Answer | None,
        rejected: Answer | None,
        source: Literal["vote", "thumb"],
        **more: Any,
    ) -> PreferencePair:
        return PreferencePair(
            prompt=self.prompt,
            chosen=_turns(chosen),
            rejected=_turns(rejected),
            source=source,
            tags=("zh",) if _is_chinese(self.prompt[-1].content) else (),
            vote_id=self.vote.id,
            conversation_id=_group(self.vote),
            new=self.new,
            chosen_ended=chosen is None or chosen.finish_reason == "stop",
            rejected_ended=rejected is None or rejected.finish_reason == "stop",
            **more,
        )


def _demonstration(pair: PreferencePair, vote: Vote) -> Demonstration:
    return Demonstration(
        prompt=pair.prompt, chosen=pair.chosen, vote_id=vote.id, conversation_id=_group(vote)
    )


def _group(vote: Vote) -> str:
    """What must not be split: an item of the queue has a conversation for each annotator, with one prompt."""
    return vote.item_id or vote.conversation_id


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
    held_out_groups = _held_out(groups, share)
    train = [pair for pair, group in zip(found.pairs, groups, strict=True) if group not in held_out_groups]
    held_out = [pair for pair, group in zip(found.pairs, groups, strict=True) if group in held_out_groups]
    if by_vote:
        return train, held_out, set()
    unpaired = set(found.conversations.values()) - set(groups)
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
