"""Feedback on API responses: a kept answer joins the conversations, and the feedback becomes a vote."""

from __future__ import annotations

import hashlib

from server.errors import Problem
from server.openai_shapes import FeedbackIn
from server.votes import Cast, VoteService
from store.conversations import Conversations
from store.records import Account, Duel, Response
from store.responses import Responses
from store.votes import VoteLog


class Feedback:
    """Turns feedback into votes. The same feedback again is the same vote."""

    def __init__(
        self, responses: Responses, conversations: Conversations, votes: VoteLog, voting: VoteService
    ) -> None:
        self._responses = responses
        self._conversations = conversations
        self._votes = votes
        self._voting = voting

    async def give(self, account: Account, feedback: FeedbackIn, key: str | None) -> tuple[Cast, Response]:
        """The vote it became. `key` is the caller's Idempotency-Key.

        Raises Problem, AlreadyVoted, IdempotencyConflict, StoreUnavailable.
        """
        said = [name for name in ("rating", "choice", "correction") if getattr(feedback, name) is not None]
        if len(said) != 1:
            detail = f"feedback is one of rating, choice and correction, not {' and '.join(said) or 'none'}"
            raise Problem(
                422, "invalid", detail, field=said[1] if said else "rating", remedy="send one of them"
            )
        response = await self._responses.get(feedback.response_id)
        if response is None or response.conversation.owner_id != account.id:
            raise _no_response()
        if feedback.choice is None and feedback.index >= len(response.answers):
            detail = f"this response has {len(response.answers)} choices, the first has index 0"
            raise Problem(422, "invalid", detail, field="index", remedy="use the index of a choice")
        if feedback.choice is not None and len(response.answers) != 2:
            detail = f"choice compares two answers; this response has {len(response.answers)}"
            raise Problem(422, "invalid", detail, field="choice", remedy="ask with n=2, or send a rating")
        await self._responses.join(response)
        if await self._conversations.get(response.conversation.id) is None:
            raise _no_response()
        if feedback.choice is not None:
            return await self._choose(account, response, feedback, key), response
        if feedback.correction is not None:
            return await self._correct(account, response, feedback, key), response
        return await self._rate(account, response, feedback, key), response

    async def _choose(
        self, account: Account, response: Response, feedback: FeedbackIn, key: str | None
    ) -> Cast:
        assert feedback.choice is not None
        a, b = response.answers
        duel = Duel(
            id=f"duel_{response.id}",
            conversation_id=response.conversation.id,
            parent_id=response.message.id,
            stream_id=a.stream_id,
            answer_a=a.id,
            answer_b=b.id,
            seed=0,
            owner_id=account.id,
            created_at=a.created_at,
        )
        await self._responses.pair(duel)
        key = key or f"{duel.id}:{feedback.choice}"
        return await self._voting.duel(account, duel.id, feedback.choice, key, comment=feedback.comment)

    async def _correct(
        self, account: Account, response: Response, feedback: FeedbackIn, key: str | None
    ) -> Cast:
        """What it should have said: the ideal answer, beside the one that was given."""
        assert feedback.correction is not None
        answer = response.answers[feedback.index]
        digest = hashlib.sha256(feedback.correction.encode()).hexdigest()
        key = key or f"{answer.id}:{digest}"
        try:
            return await self._voting.edit(
                account, answer.id, feedback.correction, key, comment=feedback.comment
            )
        except Problem as problem:
            if problem.field == "text":
                problem.field = "correction"
            raise

    async def _rate(
        self, account: Account, response: Response, feedback: FeedbackIn, key: str | None
    ) -> Cast:
        assert feedback.rating is not None
        answer = response.answers[feedback.index]
        if key is None:
            # People change their mind, and back: only what repeats the last thumb is the same vote.
            mine = [
                vote for vote in await self._votes.by_annotator(account.id) if vote.answer_id == answer.id
            ]
            last = next((vote for vote in mine if vote.kind == "thumb" and vote.status != "undone"), None)
            if last and (last.choice, last.comment) == (feedback.rating, feedback.comment):
                return Cast(last, False, await self._voting.pending())
            key = f"{answer.id}:{len(mine)}"
        return await self._voting.thumb(account, answer.id, feedback.rating, key, comment=feedback.comment)


def _no_response() -> Problem:
    detail = "there is no such response, or it is too old, was not stored, or its conversation was deleted"
    return Problem(404, "not_found", detail, field="response_id", remedy="use the id of a recent response")
