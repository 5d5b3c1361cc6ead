"""Votes: check what may be voted on, log it once, let the winner go on as the assistant's message."""

from __future__ import annotations

from typing import NamedTuple

from server.errors import Problem, not_found
from server.shapes import why_not_votable
from server.turns import TurnService
from store.conversations import Conversations
from store.records import Account, Answer, Duel, DuelChoice, ThumbChoice, Vote, new_id, now
from store.votes import VoteLog


class Cast(NamedTuple):
    """A vote that counts: whether this request made it, and how many wait for the next training."""

    vote: Vote
    created: bool
    pending: int


class VoteService:
    """Casts votes. StoreUnavailable means that it is not sure whether the vote counts: send it again."""

    def __init__(self, conversations: Conversations, votes: VoteLog, turns: TurnService) -> None:
        self._conversations = conversations
        self._votes = votes
        self._turns = turns

    async def duel(
        self,
        account: Account,
        duel_id: str,
        choice: DuelChoice,
        key: str,
        comment: str | None = None,
        shown_ms: int | None = None,
    ) -> Cast:
        """Vote on a duel. Raises Problem, AlreadyVoted, IdempotencyConflict, StoreUnavailable."""
        duel = await self._conversations.duel(duel_id)
        if duel is None or duel.owner_id != account.id:
            raise not_found("duel")
        a, b = await self.sides(duel)
        if reason := why_not_votable((a, b)):
            ended = "streaming" not in (a.state, b.state)
            remedy = "ask for new answers with POST .../answers" if ended else "wait for `duel.ready`"
            raise Problem(409, "not_votable", reason, field="duel_id", remedy=remedy)
        vote = Vote(
            id=new_id("vote"),
            kind="duel",
            conversation_id=duel.conversation_id,
            duel_id=duel.id,
            annotator_id=account.id,
            choice=choice,
            version_a=a.policy_version,
            version_b=b.policy_version,
            comment=comment,
            shown_ms=shown_ms,
            idempotency_key=key,
            created_at=now(),
        )
        vote, created = await self._votes.cast(vote, duel)
        await self._go_on(duel, duel.answer_b if vote.choice == "b" else duel.answer_a, created)
        return Cast(vote, created, await self.pending())

    async def thumb(self, account: Account, answer_id: str, choice: ThumbChoice, key: str) -> Cast:
        """A thumb on one answer; a later one replaces it. Raises Problem, StoreUnavailable."""
        answer = await self._conversations.answer(answer_id)
        conversation = await self._conversations.get(answer.conversation_id) if answer else None
        if answer is None or conversation is None or conversation.owner_id != account.id:
            raise not_found("answer")
        if answer.state == "streaming":
            detail = "the answer is not finished"
            raise Problem(409, "not_votable", detail, field="answer_id", remedy="wait for its end")
        if not answer.versions:
            detail, remedy = "this answer was imported", "vote on an answer of Heed's own"
            raise Problem(409, "not_votable", detail, field="answer_id", remedy=remedy)
        duel = await self._conversations.duel(answer.duel_id) if answer.duel_id else None
        if duel is not None and duel.vote_id is None:
            detail = "the duel is not decided yet"
            raise Problem(409, "not_votable", detail, field="answer_id", remedy="vote on the duel first")
        vote = Vote(
            id=new_id("vote"),
            kind="thumb",
            conversation_id=conversation.id,
            answer_id=answer.id,
            annotator_id=account.id,
            choice=choice,
            version_a=answer.policy_version,
            idempotency_key=key,
            created_at=now(),
        )
        vote, created = await self._votes.cast(vote)
        return Cast(vote, created, await self.pending())

    async def pending(self) -> int:
        """Votes that the next training will see for the first time."""
        return await self._votes.pending(await self._votes.mark("attempted_through"))

    async def _go_on(self, duel: Duel, winner: str, created: bool) -> None:
        """The winner (a on a tie or both bad) becomes the assistant's message.

        A repeated vote does this only where its first try broke off: the person may have moved on since.
        """
        conversation = await self._conversations.get(duel.conversation_id)
        if conversation and (created or conversation.leaf_id == duel.parent_id):
            await self._conversations.change(conversation, leaf_id=winner)

    async def sides(self, duel: Duel) -> list[Answer]:
        """Both answers, a first; marked failed where their server is gone."""
        found = [await self._conversations.answer(one) for one in (duel.answer_a, duel.answer_b)]
        sides = await self._turns.settled([answer for answer in found if answer is not None])
        if len(sides) != 2:
            raise not_found("duel")
        return sides
