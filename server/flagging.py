"""Flagging: a vote that names a model, or says nothing about the answers, is marked as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from store.conversations import Conversations
from store.dataset.flags import LOOKED_BACK, WORDS, flags_with, judged_texts, reads_too_quickly
from store.dataset.rules import VoteRules
from store.records import FLAGS, Answer, Exclusion, Vote, VoteFlag
from store.votes import VoteLog, VoteUndone

LEAK = "an answer named its model"
PLATFORM = "heed"


class Flagging:
    """Marks votes, and keeps those out that the rules leave out. Raises StoreUnavailable."""

    def __init__(self, conversations: Conversations, votes: VoteLog, rules: VoteRules) -> None:
        self._conversations = conversations
        self._votes = votes
        self._rules = rules

    async def looked_at(self, vote: Vote, answers: Sequence[Answer]) -> Vote:
        """The vote, which is not cast yet, with its flags; kept out by them or when an answer is leaked."""
        vote = vote.model_copy(update={"texts": await self._texts(vote, answers)})
        flags = set(flags_with(vote, await self._before(vote)).get(vote.id, ()))
        if reads_too_quickly(vote, answers, self._rules.chars_per_second):
            flags.add("too_quick")
        leak = next((answer.leak for answer in vote.answers if answer.leak), None)
        reason = f"{LEAK}: {leak}" if leak else self._why_out(flags)
        kept_out = Exclusion(by=PLATFORM, reason=reason, at=vote.created_at) if reason else None
        return vote.model_copy(
            update={
                "flags": tuple(flag for flag in FLAGS if flag in flags),
                "status": "excluded" if kept_out else "active",
                "exclusion": kept_out,
            }
        )

    async def flag_earlier(self, vote: Vote) -> None:
        """What this vote shows about the ones before it. If it breaks off, the next vote shows it again."""
        for name, flags in flags_with(vote, await self._before(vote)).items():
            if name != vote.id:
                with suppress(VoteUndone):
                    await self._votes.flag(name, PLATFORM, flags, self._why_out(set(flags)))

    async def _texts(self, vote: Vote, answers: Sequence[Answer]) -> str | None:
        """The digest that knows the same texts again; None where one answer stands alone or goes on."""
        if vote.kind not in ("duel", "ranking") or vote.early or vote.check is not None:
            return None
        message = await self._conversations.message(vote.conversation_id, answers[0].parent_id)
        return judged_texts(message.text, answers) if message else None

    async def _before(self, vote: Vote) -> list[Vote]:
        """The person's votes before this one, newest first."""
        mine = await self._votes.by_annotator(vote.annotator_id, LOOKED_BACK)
        return [one for one in mine if one.id != vote.id]

    def _why_out(self, flags: set[VoteFlag]) -> str | None:
        """Why these flags keep a vote out of training; None: they only mark it."""
        return "; ".join(WORDS[flag] for flag in self._rules.leave_out if flag in flags) or None
