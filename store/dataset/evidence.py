"""Evidence: what one vote teaches, as preference pairs, or why it teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from store.conversations import Conversations
from store.records import Answer, ChatTurn, Demonstration, PreferencePair, Vote

NAMED_ITSELF = "answer named its model"

MUCH_BETTER_MARGIN = 1.0
"""Margin of "much better", as Llama 2 has it for "significantly better" (arXiv 2307.09288, table 27, small).

A margin, not a weight: the scores are to lie further apart, but one person's emphasis is no second vote.
"""


_USABLE: dict[str, tuple[str, ...]] = {"edit": ("finished", "stopped")}
"""States of the answers that a vote of this kind can teach about; of the others only finished ones."""


async def evidence_of(conversations: Conversations, vote: Vote, new: bool) -> list[PreferencePair] | str:
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
            tags=domain(self.prompt),
            vote_id=self.vote.id,
            conversation_id=group_of(self.vote),
            new=self.new,
            chosen_ended=chosen is None or chosen.finish_reason == "stop",
            rejected_ended=rejected is None or rejected.finish_reason == "stop",
            **more,
        )


def demonstration(pair: PreferencePair, vote: Vote) -> Demonstration:
    return Demonstration(
        prompt=pair.prompt, chosen=pair.chosen, vote_id=vote.id, conversation_id=group_of(vote)
    )


def group_of(vote: Vote) -> str:
    """What must not be split: an item of the queue has a conversation for each annotator, with one prompt."""
    return vote.item_id or vote.conversation_id


def _turns(answer: Answer | None) -> tuple[ChatTurn, ...]:
    return (ChatTurn(role="assistant", content=answer.text),) if answer else ()


def domain(prompt: tuple[ChatTurn, ...]) -> tuple[str, ...]:
    """The tags of a prompt: its language, where that is Chinese."""
    return ("zh",) if _is_chinese(prompt[-1].content) else ()


def _is_chinese(text: str) -> bool:
    """Han characters are a third of the letters, and no kana stands among them."""
    letters = [letter for letter in text if letter.isalpha()]
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    return 3 * han > len(letters) and not any("\u3040" <= letter <= "\u30ff" for letter in letters)
