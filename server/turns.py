"""Turns: open one (a single answer or a duel), stop or continue an answer, mark what a dead server left."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal, NamedTuple

from server.admission import Admission, Waiting
from server.choice import versions_of_turn
from server.drawing import room
from server.engines.pool import EnginePool
from server.errors import NoEngine, Problem, QueueFull, not_found
from server.generation import LiveTurn
from server.metrics import Metrics
from server.orphans import closed, settled
from server.settings import ServerConfig
from server.sides import Side, new_sides
from server.watching import count_ended
from store.canary_watch import CanaryWatch
from store.conversations import Conversations
from store.policies import Policies
from store.records import (
    Account,
    Answer,
    Canary,
    ChatTurn,
    Conversation,
    Duel,
    Message,
    Sampling,
    new_id,
    now,
)
from store.streams import AnswerStream

Mode = Literal["auto", "duel", "single"]

DRAIN_S = 5.0
TITLE_LENGTH = 60
log = logging.getLogger("heed.turns")


class Turn(NamedTuple):
    """What one message opened."""

    message: Message
    answers: tuple[Answer, ...]
    duel: Duel | None
    stream_id: str


class TurnService:
    """Owns every turn that this server generates, whoever is or is not connected."""

    def __init__(
        self,
        pool: EnginePool,
        admission: Admission,
        policies: Policies,
        canary_watch: CanaryWatch,
        conversations: Conversations,
        streams: AnswerStream,
        metrics: Metrics,
        config: ServerConfig,
        owner: str,
        chance: random.Random | None = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self._pool = pool
        self._admission = admission
        self._policies = policies
        self._canary_watch = canary_watch
        self._conversations = conversations
        self._streams = streams
        self._metrics = metrics
        self._config = config
        self._owner = owner
        self._chance = chance or random.SystemRandom()
        self.names = names
        """Of the served base model: an answer that says one has named itself."""
        self._under_way: dict[str, tuple[LiveTurn, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The life of the service; at its end turns get a few seconds to finish, then are marked failed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            yield
            self._group = None
            if tasks := [task for _, task in self._under_way.values()]:
                _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
                for task in late:
                    task.cancel()

    async def say(
        self,
        account: Account,
        conversation: Conversation,
        text: str,
        parent_id: str | None,
        mode: Mode,
        sampling: Sampling | None,
    ) -> Turn:
        """A new message and the answer or duel that it opens.

        Raises Problem: an unknown parent, a prompt beyond the context. When no engine can answer (NoEngine,
        QueueFull), the message is kept and the remedy says how to ask for its answer.
        """
        parent = None if parent_id is None else await self._parent(conversation, parent_id)
        message = Message(
            id=new_id("msg"),
            conversation_id=conversation.id,
            parent_id=parent.id if parent else None,
            text=text,
            system_prompt=conversation.system_prompt or "",
            created_at=now(),
        )
        said = ChatTurn(role="user", content=text)
        if parent is not None:
            before = await self._conversations.prompt(conversation, parent.parent_id, message.system_prompt)
            prompt = (*before, ChatTurn(role="assistant", content=parent.text), said)
        elif conversation.system_prompt:
            prompt = (ChatTurn(role="system", content=conversation.system_prompt), said)
        else:
            prompt = (said,)
        try:
            return await self._open(account, conversation, message, prompt, mode, sampling, new=True)
        except (NoEngine, QueueFull) as problem:
            await self._conversations.open_turn(message)
            await self._show(conversation, message, message.id)
            problem.remedy = (
                "the message is kept: ask for its answer with POST"
                f' /api/v1/conversations/{conversation.id}/answers {{"parent_id": "{message.id}"}}'
            )
            raise

    async def answer_again(
        self, account: Account, conversation: Conversation, message_id: str, mode: Mode
    ) -> Turn:
        """Another answer or duel for a message that is there already (retry, regenerate)."""
        message = await self._conversations.message(conversation.id, message_id)
        if message is None:
            raise not_found("message")
        prompt = await self._conversations.prompt(conversation, message.id)
        return await self._open(account, conversation, message, prompt, mode, None, new=False)

    async def go_on(self, account: Account, conversation: Conversation, answer: Answer) -> Turn:
        """Continue an answer that was interrupted or stopped; of a duel both sides, if both were.

        Raises Problem when there is nothing to continue, NoEngine, QueueFull.
        """
        turn = await self._conversations.answers(conversation.id)
        turn = [one for one in turn if one.id == answer.id or (one.duel_id and one.duel_id == answer.duel_id)]
        turn = await self.settled(turn)
        broken = [one for one in turn if one.state in ("failed", "stopped")]
        message = await self._conversations.message(conversation.id, answer.parent_id)
        duel = await self._conversations.duel(answer.duel_id) if answer.duel_id else None
        over = all(one.state != "streaming" for one in turn)
        if message is None or not over or all(one.id != answer.id for one in broken):
            remedy = "wait for its end, or ask for another one with POST .../answers"
            raise Problem(409, "not_interrupted", "this answer was not interrupted", remedy=remedy)
        later = {one.parent_id for one in await self._conversations.messages(conversation.id)}
        if later & {one.id for one in broken} or (duel is not None and duel.vote_id is not None):
            remedy = "ask for another answer with POST .../answers"
            raise Problem(409, "not_last", "the conversation went on after this answer", remedy=remedy)
        prompt = await self._conversations.prompt(conversation, message.id)

        def versions() -> list[int | None]:
            numbers = [one.policy_version for one in broken]
            return [number if self._pool.gives(number) else None for number in numbers]

        waiting = self._admission.enter(account.id, versions, conversation.id)
        try:
            if not await self._streams.claim([one.id for one in broken], self._owner):
                remedy = "follow the conversation's stream"
                raise Problem(409, "not_interrupted", "this answer goes on already", remedy=remedy)
            stream_id = f"{conversation.id}.{new_id('turn')}"
            fresh: dict[str, object] = dict.fromkeys(("finish_reason", "error", "ended_at"))
            fresh |= {"state": "streaming", "stream_id": stream_id}
            sides = [
                Side(one.model_copy(update=fresh), place, said=one.text) for place, one in enumerate(broken)
            ]
            await self._conversations.open_turn(None, [side.answer for side in sides])
            await self._show(conversation, message, message.id if duel else answer.id)
            beside = [one for one in turn if one not in broken]
            await self._begin(stream_id, sides, duel, prompt, waiting, beside)
        except BaseException:
            await waiting.leave()
            raise
        answers = sorted((*beside, *(side.answer for side in sides)), key=lambda one: one.side or "")
        return Turn(message, tuple(answers), duel, stream_id)

    async def stop(self, answer: Answer) -> None:
        """Ask whichever server writes this answer to end it now."""
        if answer.state != "streaming":
            return
        if answer.stream_id in self._under_way:
            self._under_way[answer.stream_id][0].stop(answer.id)
            return
        await self._streams.request_stop(answer.id)

    async def both_speak(self, a: Answer, b: Answer) -> bool:
        """Whether a duel is still written and both sides have said something: it may be voted on early."""
        states = {a.state, b.state}
        if "streaming" not in states or not states <= {"streaming", "finished"}:
            return False
        return await self._streams.begun(a.stream_id)

    async def abandon(self, conversation_id: str) -> None:
        """End what is under way in a conversation that is about to be deleted."""
        tasks = []
        for stream_id, (live, task) in self._under_way.items():
            if stream_id.startswith(f"{conversation_id}."):
                tasks.append(task)
                for side in live.sides:
                    live.stop(side.answer.id)
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_S)

    async def settled(self, answers: Sequence[Answer]) -> list[Answer]:
        """The same answers; those whose server is gone are marked failed first, with what they had said."""
        return await settled(answers, set(self._under_way), self._conversations, self._streams)

    async def closed(self, stream_id: str, answers: Sequence[Answer]) -> None:
        """End the stream of a turn that has ended, when the server that wrote it died before it could."""
        await closed(stream_id, answers, set(self._under_way), self._streams)

    async def _parent(self, conversation: Conversation, parent_id: str) -> Answer:
        """The answer that a message follows: one that has ended and can be read."""
        parent = await self._conversations.answer(parent_id)
        if parent is None or parent.conversation_id != conversation.id:
            remedy = "use the id of an answer of this conversation, or null"
            raise Problem(
                422, "unknown_parent", "there is no such answer here", field="parent_id", remedy=remedy
            )
        if parent.state not in ("finished", "stopped"):
            detail = f"the answer before this message is {parent.state}"
            remedy = "wait for its end, or ask for another one with POST .../answers"
            raise Problem(409, "parent_not_ended", detail, field="parent_id", remedy=remedy)
        return parent

    async def _open(
        self,
        account: Account,
        conversation: Conversation,
        message: Message,
        prompt: Sequence[ChatTurn],
        mode: Mode,
        sampling: Sampling | None,
        *,
        new: bool,
    ) -> Turn:
        sampling = sampling or self._config.sampling
        limit = await room(self._pool, prompt, sampling.max_tokens)
        sampling = sampling.model_copy(update={"max_tokens": limit})
        is_duel = mode == "duel" or (mode == "auto" and self._chance.random() < self._config.duel.share)
        canary = await self._policies.canary()

        def versions() -> tuple[int | None, ...]:
            return versions_of_turn(conversation.id, canary, self._pool.canary, is_duel=is_duel)

        waiting = self._admission.enter(account.id, versions, conversation.id)
        try:
            stream_id = f"{conversation.id}.{new_id('turn')}"
            planned = waiting.planned()
            seed = self._chance.getrandbits(32)
            sides, duel = new_sides(conversation, message, planned, sampling, stream_id, seed)
            answers = tuple(side.answer for side in sides)
            await self._conversations.open_turn(message if new else None, answers, duel)
            await self._show(conversation, message, message.id if duel else answers[0].id)
            first = conversation.leaf_id is None  # nothing was said in it before
            watched = canary if first and canary and conversation.created_at >= canary.started_at else None
            await self._begin(stream_id, sides, duel, prompt, waiting, watched=watched)
        except BaseException:
            await waiting.leave()
            raise
        return Turn(message, answers, duel, stream_id)

    async def _begin(
        self,
        stream_id: str,
        sides: Sequence[Side],
        duel: Duel | None,
        prompt: Sequence[ChatTurn],
        waiting: Waiting,
        beside: Sequence[Answer] = (),
        watched: Canary | None = None,
    ) -> None:
        """Let a saved turn run, whoever is connected. Raises StoreUnavailable, NoEngine."""
        live = LiveTurn(
            stream_id,
            sides,
            duel,
            prompt,
            beside=beside,
            waiting=waiting,
            pool=self._pool,
            conversations=self._conversations,
            streams=self._streams,
            metrics=self._metrics,
            owner=self._owner,
            names=self.names,
            when_ended=partial(count_ended, self._canary_watch, watched) if watched else None,
        )
        await live.begin()
        if self._group is None:
            raise NoEngine("the server is shutting down")
        self._under_way[stream_id] = (live, self._group.create_task(self._run(live)))

    async def _show(self, conversation: Conversation, message: Message, leaf_id: str) -> None:
        """Make this the shown branch; the first message gives an unnamed conversation its title."""
        title = None if conversation.title else " ".join(message.text.split())[:TITLE_LENGTH]
        await self._conversations.change(conversation, title=title, leaf_id=leaf_id)

    async def _run(self, live: LiveTurn) -> None:
        try:
            await live.run()
        except Exception:
            # One turn that cannot be written must not end the others, which share the task group.
            log.exception("turn %s ended early", live.id)
        finally:
            self._under_way.pop(live.id, None)
