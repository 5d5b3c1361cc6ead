"""The annotators' queue: stored prompts as duels of each annotator's own, with checks mixed in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from statistics import fmean
from typing import NamedTuple

from server.errors import Problem, not_found
from server.leaks import find_leak
from server.shapes import why_not_votable
from server.trial import on_trial
from server.turns import TurnService
from store.connection import Redis
from store.conversations import Conversations
from store.dataset.rules import VoteRules
from store.locks import LockHeld, hold
from store.queue import Queue
from store.records import (
    Account,
    Answer,
    ChatTurn,
    Check,
    Conversation,
    Duel,
    DuelChoice,
    ItemAnswer,
    Message,
    QueueItem,
    QueueTask,
    Sampling,
    Verdict,
    Vote,
    new_id,
    now,
)
from store.votes import VoteLog

PLACE_S = 15 * 60.0
"""So long an item is kept for the annotator who has it before them."""
GOLD_SHARE = 0.1
"""Share of tasks whose answer is known, as long as there are such items."""
TRIAL_GOLD_SHARE = 0.5
"""The same for an account on trial: it shows itself in a few tasks, which are worth nothing before that."""
REPEAT_SHARE = 0.05
"""Share of tasks that the annotator judged before, sides swapped."""
REPEAT_AFTER = 8
"""Verdicts between an item and its repeat: it should not be remembered."""
PACE_OVER = 50
LOCK_S = 20.0


class Record(NamedTuple):
    """How an annotator did in the queue."""

    annotator_id: str
    verdicts: int
    gold_right: int
    gold: int
    repeats_same: int
    repeats: int
    seconds: float | None
    """Mean over the last 50 verdicts with a time."""


class QueueService:
    """Gives tasks and takes verdicts. Raises Problem, StoreUnavailable."""

    def __init__(
        self,
        redis: Redis,
        queue: Queue,
        conversations: Conversations,
        turns: TurnService,
        votes: VoteLog,
        rules: VoteRules,
        chance: random.Random | None = None,
    ) -> None:
        self._redis = redis
        self._queue = queue
        self._conversations = conversations
        self._turns = turns
        self._votes = votes
        self._rules = rules
        self._chance = chance or random.SystemRandom()

    async def next(self, account: Account) -> QueueTask | None:
        """The task before this annotator, or a new one; None when nothing waits for them.

        Raises Problem when another tab asks at the same moment.
        """
        try:
            async with hold(self._redis, f"queue:{account.id}", LOCK_S):
                return await self._under_way(account) or await self._new_task(account)
        except LockHeld:
            detail = "another page of yours is getting a task"
            raise Problem(409, "busy", detail, remedy="try again", retry_after_s=1) from None

    async def release(self, account: Account) -> None:
        """Give the task before this annotator back, without a verdict."""
        task = await self._queue.current(account.id)
        if task is not None:
            await self._queue.drop(task)

    async def voted(self, duel: Duel, vote: Vote) -> None:
        """Record the verdict of a vote on a task's duel; safe to repeat."""
        task = await self._queue.task(duel.id)
        item = await self._queue.item(task.item_id) if task else None
        if task is None or item is None:
            return
        if not item.answers and (drawn := await self._drawn(duel)):
            item = await self._queue.keep_answers(item, drawn)
        verdict = Verdict(
            item_id=item.id,
            vote_id=vote.id,
            choice=_choice(vote, task.swapped),
            swapped=task.swapped,
            check=task.check,
            gold=item.gold if task.check == "gold" else None,
            at=vote.created_at,
        )
        await self._queue.finish(task, item, verdict)

    async def undone(self, duel: Duel, vote: Vote) -> None:
        """A vote on a task's duel was undone: the task is before its annotator again."""
        task = await self._queue.task(duel.id)
        item = await self._queue.item(task.item_id) if task else None
        if task is not None and item is not None:
            await self._queue.reopen(task, item, vote.id, PLACE_S)

    async def record(self, annotator_id: str) -> Record:
        """How this annotator did."""
        verdicts = await self._queue.verdicts(annotator_id)
        first = {one.item_id: one.choice for one in verdicts if one.check is None}
        gold = [one for one in verdicts if one.check == "gold" and one.choice != "skip"]
        repeats = [one for one in verdicts if one.check == "repeat" and one.item_id in first]
        votes = await self._votes.several([one.vote_id for one in verdicts[-PACE_OVER:]])
        times = [vote.shown_ms / 1000 for vote in votes if vote.shown_ms is not None]
        return Record(
            annotator_id=annotator_id,
            verdicts=sum(one.choice != "skip" for one in verdicts),
            gold_right=sum(one.choice == one.gold for one in gold),
            gold=len(gold),
            repeats_same=sum(one.choice == first[one.item_id] for one in repeats),
            repeats=len(repeats),
            seconds=fmean(times) if times else None,
        )

    async def records(self) -> list[Record]:
        """How every annotator did, whoever judged most first."""
        records = [await self.record(one) for one in await self._queue.annotators()]
        return sorted(records, key=lambda record: -record.verdicts)

    async def flag(
        self, account: Account, conversation: Conversation, message_id: str, overlap: int
    ) -> QueueItem:
        """Put a message of a conversation into the queue, with its duel's answers when both are there.

        A message is one item, however often it is flagged.
        """
        message = await self._conversations.message(conversation.id, message_id)
        if message is None:
            raise not_found("message")
        duels = [
            duel for duel in await self._conversations.duels(conversation.id) if duel.parent_id == message.id
        ]
        answers = await self._drawn(duels[-1]) if duels else ()
        item = QueueItem(
            id=f"item_{message.id}",
            prompt=await self._conversations.prompt(conversation, message.id),
            answers=answers,
            overlap=overlap,
            source="conversation",
            by=account.id,
            created_at=now(),
        )
        await self._queue.add([item])
        return item

    async def _under_way(self, account: Account) -> QueueTask | None:
        """The task that the annotator has; None when it is done, ran out or cannot be done."""
        task = await self._queue.current(account.id)
        duel = await self._conversations.duel(task.duel_id) if task else None
        if task is None:
            return None
        if duel is not None and duel.vote_id is not None:  # the verdict was not recorded: its server died
            vote = await self._votes.get(duel.vote_id)
            if vote is not None:
                await self.voted(duel, vote)
            return None
        if duel is None or task.expires_at < now() or not await self._can_be_done(duel):
            await self._queue.drop(task)
            return None
        return task

    async def _can_be_done(self, duel: Duel) -> bool:
        found = [await self._conversations.answer(one) for one in (duel.answer_a, duel.answer_b)]
        sides = await self._turns.settled([answer for answer in found if answer is not None])
        return len(sides) == 2 and (
            why_not_votable(sides) is None or {side.state for side in sides} <= {"streaming", "finished"}
        )

    async def _new_task(self, account: Account) -> QueueTask | None:
        drawn = self._chance.random()
        gold_share = TRIAL_GOLD_SHARE if on_trial(account, self._rules) else GOLD_SHARE
        if drawn < gold_share and (names := await self._queue.unseen_gold(account.id)):
            item = await self._queue.item(self._chance.choice(names))
            if item is not None:
                return await self._open(account, item, "gold", swapped=self._coin())
        if gold_share <= drawn < gold_share + REPEAT_SHARE and (again := await self._repeatable(account)):
            verdict = self._chance.choice(again)
            item = await self._queue.item(verdict.item_id)
            if item is not None and item.answers:
                return await self._open(account, item, "repeat", swapped=not verdict.swapped)
        item = await self._queue.reserve(account.id, PLACE_S)
        return await self._open(account, item, None, swapped=self._coin()) if item else None

    async def _repeatable(self, account: Account) -> list[Verdict]:
        """Verdicts old enough to be asked for once more, each once."""
        verdicts = await self._queue.verdicts(account.id)
        repeated = {one.item_id for one in verdicts if one.check == "repeat"}
        old = verdicts[:-REPEAT_AFTER]
        return [
            one for one in old if one.check is None and one.choice != "skip" and one.item_id not in repeated
        ]

    def _coin(self) -> bool:
        return self._chance.random() < 0.5

    async def _open(
        self, account: Account, item: QueueItem, check: Check | None, *, swapped: bool
    ) -> QueueTask:
        """A conversation of the annotator's own with the item's prompt, and the duel in it."""
        system, turns = _system_and_turns(item.prompt)
        conversation = await self._conversations.create(account.id, "", system, listed=False)
        parent = await self._history(conversation, turns[:-1])
        if item.answers:
            duel = await self._laid_out(account, conversation, turns[-1], parent, item, swapped)
        else:
            swapped = False  # the answers are drawn now: the item's first is side a of this duel
            turn = await self._turns.say(account, conversation, turns[-1].content, parent, "duel", None)
            assert turn.duel is not None
            duel = turn.duel
        duel = duel.model_copy(
            update={"item_id": item.id, "check": check, "asked": item.asked.how if item.asked else None}
        )
        await self._conversations.open_turn(None, (), duel)
        task = QueueTask(
            item_id=item.id,
            annotator_id=account.id,
            conversation_id=conversation.id,
            duel_id=duel.id,
            swapped=swapped,
            check=check,
            expires_at=now() + timedelta(seconds=PLACE_S),
        )
        await self._queue.start(task)
        return task

    async def _history(self, conversation: Conversation, turns: Sequence[ChatTurn]) -> str | None:
        """What was said before the item's last message; the id of the answer that it follows."""
        parent = None
        for said, answered in zip(turns[::2], turns[1::2], strict=True):
            message = _message(conversation, said.content, parent)
            answer = _answer(conversation, message, ItemAnswer(text=answered.content), "queue")
            await self._conversations.open_turn(message, (answer,))
            parent = answer.id
        return parent

    async def _laid_out(
        self,
        account: Account,
        conversation: Conversation,
        said: ChatTurn,
        parent: str | None,
        item: QueueItem,
        swapped: bool,
    ) -> Duel:
        """A duel of the answers that the item has."""
        message = _message(conversation, said.content, parent)
        if item.asked:  # the trainer drew these answers, which knows of no names
            told = [
                one.model_copy(update={"leak": find_leak(one.text, self._turns.names)})
                for one in item.answers
            ]
            item = item.model_copy(update={"answers": tuple(told)})
        duel_id, stream_id = new_id("duel"), f"{conversation.id}.{new_id('turn')}"
        sides = [
            _answer(conversation, message, one, stream_id).model_copy(
                update={"duel_id": duel_id, "side": side}
            )
            for side, one in zip(("a", "b"), item.answers[::-1] if swapped else item.answers, strict=True)
        ]
        duel = Duel(
            id=duel_id,
            conversation_id=conversation.id,
            parent_id=message.id,
            stream_id=stream_id,
            answer_a=sides[0].id,
            answer_b=sides[1].id,
            seed=int(swapped),
            owner_id=account.id,
            created_at=now(),
        )
        await self._conversations.open_turn(message, sides, duel)
        await self._conversations.change(conversation, leaf_id=message.id)
        return duel

    async def _drawn(self, duel: Duel) -> tuple[ItemAnswer, ...]:
        """The answers of a duel, side a first; none unless both are finished."""
        found = [await self._conversations.answer(one) for one in (duel.answer_a, duel.answer_b)]
        said = [
            one for one in found if one is not None and one.state == "finished" and len(one.versions) == 1
        ]
        if len(said) != 2 or not all(one.text for one in said):
            return ()
        return tuple(
            ItemAnswer(
                text=one.text,
                version=one.policy_version,
                ended=one.finish_reason == "stop",
                tokens=one.response_tokens,
                leak=one.leak,
            )
            for one in said
        )


def _choice(vote: Vote, swapped: bool) -> DuelChoice:
    """What a vote on a task's duel says in the order of the item's answers."""
    match vote.choice:
        case "a":
            return "b" if swapped else "a"
        case "b":
            return "a" if swapped else "b"
        case "tie" | "both_bad" | "skip":
            return vote.choice
    raise ValueError(f"{vote.choice} is no vote on a duel")


def _system_and_turns(prompt: Sequence[ChatTurn]) -> tuple[str | None, Sequence[ChatTurn]]:
    if prompt[0].role == "system":
        return prompt[0].content, prompt[1:]
    return None, prompt


def _message(conversation: Conversation, text: str, parent: str | None) -> Message:
    return Message(
        id=new_id("msg"), conversation_id=conversation.id, parent_id=parent, text=text, created_at=now()
    )


def _answer(conversation: Conversation, message: Message, said: ItemAnswer, stream_id: str) -> Answer:
    at = now()
    return Answer(
        id=new_id("ans"),
        conversation_id=conversation.id,
        parent_id=message.id,
        stream_id=stream_id,
        state="finished",
        text=said.text,
        policy_version=said.version,
        versions=(said.version,),
        sampling=Sampling(),
        response_tokens=said.tokens,
        finish_reason="stop" if said.ended else "length",
        leak=said.leak,
        created_at=at,
        ended_at=at,
    )
