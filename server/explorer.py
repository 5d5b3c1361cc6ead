"""The vote explorer: find votes, look at one, take votes out of training and put them back, review."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from server.errors import Problem, not_found
from server.explorer_shapes import (
    MOST_AT_ONCE,
    AnswerShown,
    ChangeOut,
    ExcludeIn,
    FacetValue,
    RestoreIn,
    ReviewIn,
    ReviewOut,
    SelectionIn,
    SelectionOut,
    UsedIn,
    VoteDetail,
    VotesFound,
    bar_out,
    row_out,
)
from store.accounts import Accounts
from store.connection import StoreUnavailable
from store.conversations import Conversations
from store.exchange.export import answer_ids
from store.explorer.effect import RatingChange, rating_changes
from store.explorer.index import VoteIndex
from store.explorer.query import Query, QueryError, parse
from store.explorer.table import VoteRow
from store.policies import Policies
from store.records import Account, Answer, ChatTurn, Conversation, Vote, VoteStatus, now
from store.reviews import Review, Reviews
from store.votes import VoteLog, VoteUndone

PAGE = 100


def understood(q: str) -> Query:
    """Raises Problem when the query cannot be read."""
    try:
        return parse(q)
    except QueryError as error:
        raise Problem(
            422, "bad_query", str(error), field="q", remedy="change this part of the query"
        ) from None


class Explorer:
    """Reads the index and the log. Raises Problem, StoreUnavailable."""

    def __init__(
        self,
        index: VoteIndex,
        votes: VoteLog,
        reviews: Reviews,
        conversations: Conversations,
        policies: Policies,
        accounts: Accounts,
    ) -> None:
        self._index = index
        self._votes = votes
        self._reviews = reviews
        self._conversations = conversations
        self._policies = policies
        self._accounts = accounts

    @asynccontextmanager
    async def warming(self) -> AsyncIterator[None]:
        """Make the index from the server's start on, so that nobody waits for it later."""

        async def warm() -> None:
            with suppress(StoreUnavailable):  # the first who asks makes it then
                await self._index.refresh()

        task = asyncio.create_task(warm())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def find(self, q: str, cursor: int | None, limit: int) -> VotesFound:
        """One page; facets and histogram with the first."""
        query = understood(q)
        table = await self._index.refresh()
        page = table.page(query, cursor, limit)
        facets = histogram = None
        if cursor is None:
            facets = {
                name: [FacetValue(value=value, votes=votes) for value, votes in values]
                for name, values in table.facets(query).items()
            }
            histogram = [bar_out(bar) for bar in table.histogram(query)]
        return VotesFound(
            items=[row_out(row) for row in page.rows],
            next=page.next,
            total=page.total,
            of=len(table),
            facets=facets,
            histogram=histogram,
        )

    async def detail(self, vote_id: str) -> VoteDetail:
        """Everything about one vote."""
        row = await self._row(vote_id)
        answers, thread = await self._texts(row.vote)
        versions = [one for one in await self._policies.versions() if one.number in row.used]
        reviews = [one for _, one in await self._reviews.after("0") if one.vote_id == vote_id]
        changes = await self._votes.history(vote_id)
        names = await self._names({one.by for one in changes} | {one.by for one in reviews})
        return VoteDetail(
            row=row_out(row),
            thread=thread,
            answers=answers,
            changes=[
                ChangeOut(
                    what=one.what,
                    by=names[one.by],
                    at=one.at,
                    outcome=one.vote.choice,
                    status=one.vote.status,
                    reason=one.vote.exclusion.reason if one.vote.exclusion else None,
                )
                for one in changes
            ],
            others=[row_out(one) for one in self._index.table.same_unit(row)],
            used_in=[UsedIn(number=one.number, state=one.state, run_id=one.run_id) for one in versions],
            reviews=[
                ReviewOut(by=names[one.by], choice=one.choice, note=one.note, at=one.at) for one in reviews
            ],
        )

    async def exclude(self, me: Account, body: ExcludeIn) -> SelectionOut:
        """Take votes out of training and statistics; they stay in the log and can be restored."""
        chosen = await self._selected(body)
        changing = [row for row in chosen if row.vote.status == "active"]
        reason = f"{body.reason}: {body.note}" if body.note else body.reason
        if body.dry_run:
            return _selection(chosen, changing, ratings=await self._effect(changing, "excluded"))
        for row in changing:
            await self._tried(self._votes.exclude(row.vote.id, me.id, reason))
        return _selection(chosen, changing)

    async def restore(self, me: Account, body: RestoreIn) -> SelectionOut:
        """Let excluded votes count again."""
        chosen = await self._selected(body)
        changing = [row for row in chosen if row.vote.status == "excluded"]
        if body.dry_run:
            return _selection(chosen, changing, ratings=await self._effect(changing, "active"))
        for row in changing:
            await self._tried(self._votes.restore(row.vote.id, me.id))
        return _selection(chosen, changing)

    async def _effect(self, changing: list[VoteRow], status: VoteStatus) -> list[RatingChange]:
        """What the ratings become when these votes get this status."""
        after = [row._replace(vote=row.vote.model_copy(update={"status": status})) for row in changing]
        rows = list(self._index.table.rows)
        return await asyncio.to_thread(rating_changes, rows, changing, after)

    async def asked(self, vote_id: str) -> tuple[Conversation, str]:
        """What was voted on: its conversation, and the id of the message."""
        row = await self._row(vote_id)
        conversation = await self._conversations.get(row.vote.conversation_id)
        ids = await answer_ids(row.vote, self._conversations) if conversation else []
        answer = await self._conversations.answer(ids[0]) if ids else None
        if conversation is None or answer is None:
            detail, remedy = "its conversation was deleted", "choose a vote that still has its texts"
            raise Problem(409, "not_votable", detail, remedy=remedy)
        return conversation, answer.parent_id

    async def review(self, me: Account, vote_id: str, body: ReviewIn) -> ReviewOut:
        """What the reviewer would have said, beside the vote."""
        row = await self._row(vote_id)
        fits = ("up", "down") if row.vote.kind == "thumb" else ("a", "b", "tie", "both_bad")
        if row.vote.kind not in ("duel", "thumb") or body.choice not in fits:
            detail = f"a vote of kind {row.vote.kind} takes {', '.join(fits)}"
            raise Problem(422, "wrong_choice", detail, field="choice", remedy="send one of these")
        review = Review(vote_id=vote_id, by=me.id, choice=body.choice, note=body.note, at=now())
        await self._reviews.append(review)
        return ReviewOut(by=me.name, choice=review.choice, note=review.note, at=review.at)

    async def rows(self, q: str) -> list[VoteRow]:
        """Every vote that the query finds, oldest first."""
        query = understood(q)
        return (await self._index.refresh()).select(query)

    async def _row(self, vote_id: str) -> VoteRow:
        row = (await self._index.refresh()).get(vote_id)
        if row is None:
            raise not_found("vote")
        return row

    async def _selected(self, body: SelectionIn) -> list[VoteRow]:
        if (body.ids is None) == (body.q is None):
            detail = "name the votes by `ids` or by `q`, not by both or none"
            raise Problem(422, "bad_selection", detail, field="ids", remedy="send one of the two")
        if body.q is not None:
            chosen = await self.rows(body.q)
        else:
            table = await self._index.refresh()
            found = [table.get(one) for one in dict.fromkeys(body.ids or [])]
            chosen = [row for row in found if row is not None]
        if len(chosen) > MOST_AT_ONCE:
            detail = f"{len(chosen)} votes are more than the {MOST_AT_ONCE} that change at once"
            raise Problem(422, "too_many", detail, field="q", remedy="narrow the query, for example by date")
        return chosen

    async def _tried(self, change: object) -> None:
        """A vote that its annotator took back meanwhile stays taken back."""
        try:
            await change  # type: ignore[misc]
        except VoteUndone:
            return

    async def _texts(self, vote: Vote) -> tuple[list[AnswerShown], list[ChatTurn]]:
        conversation = await self._conversations.get(vote.conversation_id)
        ids = await answer_ids(vote, self._conversations)
        found = [await self._conversations.answer(one) for one in ids]
        answers = [one for one in found if one is not None]
        if conversation is None or not answers or len(answers) < len(ids):
            return [], []
        thread = await self._conversations.prompt(conversation, answers[0].parent_id)
        return [_shown(vote, answer, place) for place, answer in enumerate(answers, start=1)], list(thread)

    async def _names(self, ids: set[str]) -> dict[str, str]:
        names = {}
        for one in ids:
            account = await self._accounts.get(one)
            names[one] = account.name if account else one
        return names


def _shown(vote: Vote, answer: Answer, place: int) -> AnswerShown:
    said = next((one for one in vote.answers if one.answer_id == answer.id), None)
    best = min((one.rank for one in vote.answers if one.rank is not None), default=None)
    preferred = {
        "a": place == 1,
        "b": place == 2,
        "edited": place == 2,
        "up": True,
        "ranked": said is not None and said.rank is not None and said.rank == best,
    }
    return AnswerShown(
        id=answer.id,
        position=place,
        version=said.version if said else answer.policy_version,
        text=answer.text,
        tokens=answer.response_tokens,
        finish_reason=answer.finish_reason,
        leak=said.leak if said else None,
        rank=said.rank if said else None,
        preferred=preferred.get(vote.choice, False),
    )


def _selection(
    chosen: list[VoteRow], changing: list[VoteRow], ratings: list[RatingChange] | None = None
) -> SelectionOut:
    """`ratings`: it was only looked at."""
    return SelectionOut(
        votes=len(changing),
        annotators=sorted({row.annotator for row in changing}),
        used_in=sorted({number for row in changing for number in row.used}),
        left=len(chosen) - len(changing),
        ratings=ratings or [],
        done=ratings is None,
    )
