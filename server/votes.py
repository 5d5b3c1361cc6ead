"""Votes: check what may be voted on, log it once, let the winner go on as the assistant's message."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from server.errors import Problem, not_found
from server.flagging import Flagging, Looked
from server.queue import QueueService
from server.shapes import why_not_votable
from server.trial import Trial
from server.turns import TurnService
from store.conversations import Conversations
from store.guidelines import GuidelineBook
from store.records import (
    Account,
    Answer,
    Conversation,
    Duel,
    DuelChoice,
    Strength,
    ThumbChoice,
    Vote,
    VotedAnswer,
    new_id,
    now,
)
from store.stream_ids import position
from store.votes import VoteLog

CHANGEABLE_FOR = timedelta(minutes=10)
"""So long a vote can be undone even when a training has begun with it; then its version is tainted."""


class Cast(NamedTuple):
    """A vote that counts: whether this request made it, and how many wait for the next training."""

    vote: Vote
    created: bool
    pending: int


class VoteService:
    """Casts and changes votes. StoreUnavailable: it is not sure whether it was done; send it again."""

    def __init__(
        self,
        conversations: Conversations,
        votes: VoteLog,
        turns: TurnService,
        guidelines: GuidelineBook,
        queue: QueueService,
        flagging: Flagging,
        trial: Trial,
    ) -> None:
        self._conversations = conversations
        self._votes = votes
        self._turns = turns
        self._guidelines = guidelines
        self._queue = queue
        self._flagging = flagging
        self._trial = trial

    async def duel(
        self,
        account: Account,
        duel_id: str,
        choice: DuelChoice,
        key: str,
        comment: str | None = None,
        shown_ms: int | None = None,
        *,
        strength: Strength = 1,
        tags: tuple[str, ...] = (),
    ) -> Cast:
        """Vote on a duel; with a or b before both answers have ended, the loser is stopped.

        Raises Problem, AlreadyVoted, IdempotencyConflict, StoreUnavailable.
        """
        duel = await self._conversations.duel(duel_id)
        if duel is None or duel.owner_id != account.id:
            raise not_found("duel")
        _check_strength(choice, strength)
        a, b = await self.sides(duel)
        cut = duel.revealed and "stopped" in (a.state, b.state)  # by an early vote that was undone
        early = choice in ("a", "b") and duel.item_id is None and (cut or await self._turns.both_speak(a, b))
        reason = why_not_votable((a, b), cut=cut)
        if reason and not early and duel.vote_id is None:
            ended = "streaming" not in (a.state, b.state)
            remedy = "ask for new answers with POST .../answers" if ended else "wait for `duel.ready`"
            raise Problem(409, "not_votable", reason, field="duel_id", remedy=remedy)
        looked = await self._made(
            account,
            duel.conversation_id,
            key,
            [a, b],
            kind="duel",
            duel_id=duel.id,
            choice=choice,
            strength=strength,
            tags=tags,
            comment=comment,
            shown_ms=shown_ms,
            version_a=a.policy_version,
            version_b=b.policy_version,
            blind=not duel.revealed,
            early=early,
            item_id=duel.item_id,
            check=duel.check,
            asked=duel.asked,
        )
        vote, created = await self._votes.cast(looked.vote, duel)
        if created:
            await self._flagging.mark(looked.earlier)
        if vote.early:
            await self._turns.stop(a if vote.choice == "b" else b)
        if duel.item_id is not None:
            await self._queue.voted(duel, vote)
        await self._go_on(duel, duel.answer_b if vote.choice == "b" else duel.answer_a, created)
        return await self._counted(vote, created)

    async def thumb(
        self,
        account: Account,
        answer_id: str,
        choice: ThumbChoice,
        key: str,
        *,
        tags: tuple[str, ...] = (),
        comment: str | None = None,
        shown_ms: int | None = None,
    ) -> Cast:
        """A thumb on one answer; a later one replaces it. Raises as `duel`."""
        answer, conversation = await self._ended(account, answer_id, "answer_id")
        if answer.edited_from is not None:
            detail = "a person wrote this answer"
            raise Problem(409, "not_votable", detail, field="answer_id", remedy="vote on the original")
        looked = await self._made(
            account,
            conversation.id,
            key,
            [answer],
            kind="thumb",
            answer_id=answer.id,
            choice=choice,
            tags=tags,
            comment=comment,
            shown_ms=shown_ms,
            version_a=answer.policy_version,
            blind=False,
        )
        vote, created = await self._votes.cast(looked.vote)
        return await self._counted(vote, created)

    async def ranking(
        self,
        account: Account,
        ranking: Sequence[Sequence[str]],
        key: str,
        *,
        tags: tuple[str, ...] = (),
        comment: str | None = None,
        shown_ms: int | None = None,
    ) -> Cast:
        """Answers to one message, best first, ties together. Raises as `duel`."""
        ranks = {one: rank for rank, tier in enumerate(ranking, 1) for one in tier}
        if len(ranks) < 2 or len(ranks) != sum(map(len, ranking)):
            detail = "a ranking names at least two answers, each once"
            raise Problem(422, "bad_ranking", detail, field="ranking", remedy="name each answer once")
        found = [await self._ended(account, one, "ranking") for one in ranks]
        if any(answer.state != "finished" for answer, _ in found):
            detail, remedy = "an answer was not finished", "leave it out of the ranking"
            raise Problem(409, "not_votable", detail, field="ranking", remedy=remedy)
        answers = sorted((answer for answer, _ in found), key=lambda one: (one.created_at, one.side or ""))
        if len({answer.parent_id for answer in answers}) != 1:
            detail = "these answers are not to the same message"
            raise Problem(422, "bad_ranking", detail, field="ranking", remedy="rank answers to one message")
        looked = await self._made(
            account,
            found[0][1].id,
            key,
            answers,
            ranks=ranks,
            kind="ranking",
            choice="ranked",
            tags=tags,
            comment=comment,
            shown_ms=shown_ms,
            blind=False,
        )
        vote, created = await self._votes.cast(looked.vote)
        if created:
            await self._flagging.mark(looked.earlier)
            await self._conversations.change(found[0][1], leaf_id=ranking[0][0])
        return await self._counted(vote, created)

    async def edit(
        self,
        account: Account,
        answer_id: str,
        text: str,
        key: str,
        *,
        tags: tuple[str, ...] = (),
        comment: str | None = None,
        shown_ms: int | None = None,
    ) -> Cast:
        """The ideal answer, written from one that is there; it becomes its sibling. Raises as `duel`."""
        original, conversation = await self._ended(account, answer_id, "answer_id")
        if original.state == "failed":
            detail, remedy = "this answer failed", "ask for another one with POST .../answers"
            raise Problem(409, "not_votable", detail, field="answer_id", remedy=remedy)
        if text.strip() == original.text.strip():
            detail = "this is what the answer says already"
            raise Problem(
                422, "unchanged", detail, field="text", remedy="change the text, or give a thumb up"
            )
        # The same request again must write the same answer, not one more.
        name = hashlib.sha256(f"{account.id}:{key}:{answer_id}:{text}".encode()).hexdigest()[:20]
        at = now()
        edited = original.model_copy(
            update={
                "id": f"ans_{name}",
                "duel_id": None,
                "side": None,
                "state": "finished",
                "text": text,
                "prompt_tokens": None,
                "response_tokens": None,
                "finish_reason": "stop",
                "error": None,
                "leak": None,
                "edited_from": original.id,
                "created_at": at,
                "ended_at": at,
            }
        )
        looked = await self._made(
            account,
            conversation.id,
            key,
            [original, edited],
            kind="edit",
            answer_id=original.id,
            choice="edited",
            tags=tags,
            comment=comment,
            shown_ms=shown_ms,
            version_a=original.policy_version,
            blind=False,
        )
        vote, created = await self._votes.cast(looked.vote, edited=edited)
        if created:
            await self._conversations.change(conversation, leaf_id=edited.id)
        return await self._counted(vote, created)

    async def _counted(self, vote: Vote, created: bool) -> Cast:
        """A vote that is logged. A known verdict may show its account: then the votes before it count too."""
        if vote.check == "gold" or "trial" in vote.flags:
            await self._trial.look(vote.annotator_id)
        return Cast(vote, created, await self.pending())

    async def undo(self, account: Account, vote_id: str) -> Cast:
        """Take one's own vote back; its duel is open again. Raises Problem, StoreUnavailable."""
        vote = await self._own(account, vote_id)
        if vote.status != "undone":
            await self._refuse_late(vote)
            vote = await self._votes.undo(vote.id, account.id)
        duel = await self._conversations.duel(vote.duel_id) if vote.duel_id else None
        if duel is not None and duel.vote_id is None:
            await self._queue.undone(duel, vote)
            await self._show_instead(duel, duel.parent_id)
        if vote.kind == "edit" and vote.status == "undone":
            await self._show_original(vote)
        return Cast(vote, False, await self.pending())

    async def amend(self, account: Account, vote_id: str, changes: dict[str, Any]) -> Cast:
        """Change one's own vote: tags and comment at any time, what was chosen while it can be undone.

        Raises Problem, VoteUndone, StoreUnavailable.
        """
        vote = await self._own(account, vote_id)
        choice, strength = changes.get("choice", vote.choice), changes.get("strength", vote.strength)
        if (choice, strength) != (vote.choice, vote.strength):
            if vote.kind != "duel" or vote.early:
                remedy = "undo it and vote again"
                raise Problem(
                    409, "not_changeable", "this vote's choice is fixed", field="choice", remedy=remedy
                )
            await self._refuse_late(vote)
            if choice != vote.choice and "strength" not in changes:
                changes = {**changes, "strength": (strength := 1)}
            _check_strength(choice, strength)
            # The versions were shown with the vote: another choice is not a blind one.
            changes = {**changes, "blind": False}
        vote = await self._votes.amend(vote.id, account.id, **changes)
        duel = await self._conversations.duel(vote.duel_id) if "choice" in changes and vote.duel_id else None
        if duel is not None:
            await self._queue.voted(duel, vote)
            await self._show_instead(duel, duel.answer_b if vote.choice == "b" else duel.answer_a)
        return Cast(vote, False, await self.pending())

    async def changeable(self, votes: Sequence[Vote]) -> list[bool]:
        """Which of the votes can still be undone."""
        frozen = position(await self._votes.mark("frozen_through"))
        young = [vote.status != "undone" and now() - vote.created_at < CHANGEABLE_FOR for vote in votes]
        return [
            is_young or (vote.status != "undone" and await self._after(vote, frozen))
            for vote, is_young in zip(votes, young, strict=True)
        ]

    async def pending(self) -> int:
        """Votes that the next training will see for the first time."""
        return await self._votes.pending(await self._votes.mark("attempted_through"))

    async def sides(self, duel: Duel) -> list[Answer]:
        """Both answers, a first; marked failed where their server is gone."""
        found = [await self._conversations.answer(one) for one in (duel.answer_a, duel.answer_b)]
        sides = await self._turns.settled([answer for answer in found if answer is not None])
        if len(sides) != 2:
            raise not_found("duel")
        return sides

    async def _made(
        self,
        account: Account,
        conversation_id: str,
        key: str,
        answers: Sequence[Answer],
        ranks: dict[str, int] | None = None,
        **said: Any,
    ) -> Looked:
        """A vote on these answers, in the order shown; kept out when one names its model, or by its flags."""
        at = now()
        about = tuple(
            VotedAnswer(
                answer_id=answer.id,
                version=answer.policy_version,
                position=number,
                rank=(ranks or {}).get(answer.id),
                tokens=answer.response_tokens,
                leak=answer.leak,
            )
            for number, answer in enumerate(answers, 1)
        )
        vote = Vote(
            id=new_id("vote"),
            conversation_id=conversation_id,
            annotator_id=account.id,
            answers=about,
            guideline_version=await self._guidelines.number(),
            idempotency_key=key,
            created_at=at,
            **said,
        )
        return await self._flagging.looked_at(vote, answers, trial=self._trial.holds(account))

    async def _ended(self, account: Account, answer_id: str, field: str) -> tuple[Answer, Conversation]:
        """One of the person's answers that has ended and whose version may be known. Raises Problem."""
        answer = await self._conversations.answer(answer_id)
        conversation = await self._conversations.get(answer.conversation_id) if answer else None
        if answer is None or conversation is None or conversation.owner_id != account.id:
            raise not_found("answer")
        if answer.state == "streaming":
            detail = "the answer is not finished"
            raise Problem(409, "not_votable", detail, field=field, remedy="wait for its end")
        if not answer.versions:
            detail, remedy = "this answer was imported", "vote on an answer of Heed's own"
            raise Problem(409, "not_votable", detail, field=field, remedy=remedy)
        duel = await self._conversations.duel(answer.duel_id) if answer.duel_id else None
        if duel is not None and duel.vote_id is None and not duel.revealed:
            detail = "the duel is not decided yet"
            raise Problem(409, "not_votable", detail, field=field, remedy="vote on the duel first")
        return answer, conversation

    async def _own(self, account: Account, vote_id: str) -> Vote:
        vote = await self._votes.get(vote_id)
        if vote is None or vote.annotator_id != account.id:
            raise not_found("vote")
        return vote

    async def _refuse_late(self, vote: Vote) -> None:
        """A vote can be changed for ten minutes, and after that until a training begins with it."""
        (can,) = await self.changeable([vote])
        if not can and vote.status != "undone":
            detail = "a training has begun with this vote, and it is older than ten minutes"
            raise Problem(409, "too_late", detail, remedy="ask a reviewer to exclude it")

    async def _after(self, vote: Vote, frozen: tuple[int, int]) -> bool:
        entry = await self._votes.entry(vote.id)
        return entry is not None and position(entry) > frozen

    async def _go_on(self, duel: Duel, winner: str, created: bool) -> None:
        """The winner (a on a tie, both bad or a skip) becomes the assistant's message.

        A repeated vote does this only where its first try broke off: the person may have moved on since.
        """
        conversation = await self._conversations.get(duel.conversation_id)
        if conversation and (created or conversation.leaf_id == duel.parent_id):
            await self._conversations.change(conversation, leaf_id=winner)

    async def _show_instead(self, duel: Duel, leaf_id: str) -> None:
        """Show another end of the branch, unless the person has moved on from the duel."""
        conversation = await self._conversations.get(duel.conversation_id)
        if conversation and conversation.leaf_id in (duel.answer_a, duel.answer_b):
            await self._conversations.change(conversation, leaf_id=leaf_id)

    async def _show_original(self, vote: Vote) -> None:
        """Show the answer that was rewritten, unless the person has moved on from the ideal one."""
        conversation = await self._conversations.get(vote.conversation_id)
        if conversation and vote.answer_id and conversation.leaf_id == vote.answers[-1].answer_id:
            await self._conversations.change(conversation, leaf_id=vote.answer_id)


def _check_strength(choice: str, strength: int) -> None:
    if strength == 2 and choice not in ("a", "b"):
        detail = "only a or b can be much better"
        raise Problem(422, "bad_strength", detail, field="strength", remedy="leave strength out")
