"""Flagging: a vote that names a model, or says nothing about the answers, is marked as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from store.conversations import Conversations
from store.dataset.flags import LOOKED_BACK, WORDS, flags_with, judged_texts, reads_too_quickly
from store.dataset.rules import VoteRules
from store.records import FLAGS, Answer, Exclusion, Vote, VoteFlag
from store.votes import VoteLog, VoteUndone

LEAK = "an answer named its model"
PLATFORM = "heed"


class Looked(NamedTuple):
    """A vote that is not cast yet, and what it shows about its annotator's votes before."""

    vote: Vote
    earlier: dict[str, list[VoteFlag]]
    """Vote id -> new flags."""


class Flagging:
    """Marks votes, and keeps those out that the rules leave out. Raises StoreUnavailable."""

    def __init__(self, conversations: Conversations, votes: VoteLog, rules: VoteRules) -> None:
        self._conversations = conversations
        self._votes = votes
        self._rules = rules

    async def looked_at(self, vote: Vote, answers: Sequence[Answer], *, trial: bool) -> Looked:
        """The vote with its flags; kept out by them, or when an answer is leaked. `trial`: of its account."""
        found: dict[str, list[VoteFlag]] = {}
        if vote.kind in ("duel", "ranking"):
            vote = vote.model_copy(update={"texts": await self._texts(vote, answers)})
            found = flags_with(vote, await self._votes.by_annotator(vote.annotator_id, LOOKED_BACK))
        flags = set(found.pop(vote.id, ()))
        if reads_too_quickly(vote, answers, self._rules.chars_per_second):
            flags.add("too_quick")
        if trial and vote.check is None and vote.choice != "skip":
            flags.add("trial")
        reason = self._why_not(vote, flags)
        kept_out = Exclusion(by=PLATFORM, reason=reason, at=vote.created_at) if reason else None
        marked = {
            "flags": tuple(flag for flag in FLAGS if flag in flags),
            "status": "excluded" if kept_out else "active",
            "exclusion": kept_out,
        }
        return Looked(vote.model_copy(update=marked), found)

    async def mark(self, earlier: dict[str, list[VoteFlag]]) -> None:
        """Flag earlier votes. If it breaks off, the next vote shows the same about them."""
        for name, flags in earlier.items():
            with suppress(VoteUndone):
                await self._votes.flag(name, PLATFORM, flags, self._why_out(set(flags)))

    async def _texts(self, vote: Vote, answers: Sequence[Answer]) -> str | None:
        """The digest that knows the same texts again; None where an answer goes on, or nothing is learned."""
        if vote.early or vote.check is not None:
            return None
        message = await self._conversations.message(vote.conversation_id, answers[0].parent_id)
        return judged_texts(message.text, answers) if message else None

    def why_out_admitted(self, vote: Vote) -> str | None:
        """Why a vote stays out now that its account is admitted; None: nothing else is against it."""
        return self._why_not(vote, set(vote.flags) - {"trial"})

    def _why_not(self, vote: Vote, flags: set[VoteFlag]) -> str | None:
        leak = next((answer.leak for answer in vote.answers if answer.leak), None)
        return f"{LEAK}: {leak}" if leak else self._why_out(flags)

    def _why_out(self, flags: set[VoteFlag]) -> str | None:
        """Why these flags keep a vote out of training; None: they only mark it."""
        return "; ".join(WORDS[flag] for flag in self._rules.leave_out if flag in flags) or None
