"""Turns: a message opens one answer or a duel of two; the server owns the generation, not the connection."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from server.engines.pool import EnginePool, Lease
from server.errors import EngineFailed, NoEngine, Problem, QueueFull, not_found
from server.events import AnswerDelta, AnswerEnd, AnswerStart, DuelReady, Event, TurnEnd
from server.settings import ServerConfig
from store.connection import StoreUnavailable
from store.conversations import Conversations
from store.records import Account, Answer, ChatTurn, Conversation, Duel, Message, Sampling, Side, new_id, now
from store.streams import AnswerStream

FLUSH_S = 0.03
HOLD_S = 5.0
STOP_LOOK_S = 0.4
PATIENCE_S = 60.0
INTERRUPTED = "the server was restarted while it spoke; try again"
Mode = Literal["auto", "duel", "single"]
log = logging.getLogger("heed.turns")


class Turn(NamedTuple):
    """What one message opened."""

    message: Message
    answers: tuple[Answer, ...]
    duel: Duel | None
    stream_id: str


@dataclass
class Speaker:
    """One side while it speaks."""

    answer: Answer
    lease: Lease
    unsent: str = ""
    ended: bool = False


class TurnService:
    """Opens turns and runs their generations in the background."""

    def __init__(
        self, pool: EnginePool, conversations: Conversations, streams: AnswerStream, config: ServerConfig
    ) -> None:
        self._pool = pool
        self._conversations = conversations
        self._streams = streams
        self._config = config
        self._owner = secrets.token_hex(6)
        self._tasks: set[asyncio.Task[None]] = set()

    async def say(
        self,
        account: Account,
        conversation: Conversation,
        text: str,
        parent_id: str | None,
        mode: Mode,
        sampling: Sampling | None,
    ) -> Turn:
        """Add the person's message and open its answers.

        Raises Problem: unknown parent, a prompt beyond the context limit. When no engine can answer, the
        message is kept and NoEngine or QueueFull raised: `answer_again` answers it later.
        """
        if parent_id is not None:
            parent = await self._conversations.answer(parent_id)
            if parent is None or parent.conversation_id != conversation.id or parent.state == "streaming":
                raise Problem(
                    422, "unknown_parent", "there is no such finished answer here", field="parent_id",
                    remedy="use the id of a finished answer of this conversation, or null",
                )  # fmt: skip
        message = Message(
            id=new_id("msg"),
            conversation_id=conversation.id,
            parent_id=parent_id,
            text=text,
            created_at=now(),
        )
        prompt = await self._prompt_before(conversation, parent_id)
        prompt = (*prompt, ChatTurn(role="user", content=text))
        try:
            sampling = await self._fitted(prompt, sampling)
        except NoEngine:
            await self._keep(conversation, message)
            raise
        await self._keep(conversation, message)
        return await self._open(account, conversation, message, prompt, mode, sampling)

    async def answer_again(
        self, account: Account, conversation: Conversation, message_id: str, mode: Mode
    ) -> Turn:
        """Open new answers to a message that is there: after a failure, or to compare."""
        message = await self._conversations.message(conversation.id, message_id)
        if message is None:
            raise not_found("message")
        prompt = await self._conversations.prompt(conversation, message_id)
        sampling = await self._fitted(prompt, None)
        return await self._open(account, conversation, message, prompt, mode, sampling)

    async def interrupt_if_dead(self, answer: Answer) -> Answer:
        """An answer whose server is gone is marked failed, and its stream is ended."""
        if answer.state != "streaming" or await self._streams.alive(answer.id):
            return answer
        fresh = await self._conversations.answer(answer.id) or answer
        if fresh.state != "streaming":
            return fresh
        failed = fresh.model_copy(
            update={"state": "failed", "finish_reason": "error", "error": INTERRUPTED, "ended_at": now()}
        )
        await self._conversations.save_answer(failed)
        await self._send(answer.stream_id, _end_of(failed))
        siblings = await self._conversations.answers(answer.conversation_id)
        if all(one.state != "streaming" for one in siblings if one.stream_id == answer.stream_id):
            await self._send(answer.stream_id, TurnEnd())
            await self._streams.finish(answer.stream_id)
        return failed

    async def close(self) -> None:
        """End every generation and save what was said."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prompt_before(self, conversation: Conversation, parent_id: str | None) -> tuple[ChatTurn, ...]:
        if parent_id is None:
            system = conversation.system_prompt
            return (ChatTurn(role="system", content=system),) if system else ()
        parent = await self._conversations.answer(parent_id)
        assert parent is not None
        before = await self._conversations.prompt(conversation, parent.parent_id)
        return (*before, ChatTurn(role="assistant", content=parent.text))

    async def _fitted(self, prompt: Sequence[ChatTurn], sampling: Sampling | None) -> Sampling:
        """The sampling with as many tokens as the context leaves. Raises Problem (422) when it leaves none."""
        wanted = sampling or self._config.sampling
        tokens = await self._pool.count_tokens(prompt)
        room = self._pool.max_model_len - tokens
        if room < 1:
            raise Problem(
                422, "too_long",
                f"the conversation has {tokens} tokens; the model's context holds {self._pool.max_model_len}",
                field="text", remedy="shorten the message or start a new conversation",
            )  # fmt: skip
        return wanted.model_copy(update={"max_tokens": min(wanted.max_tokens, room)})

    async def _keep(self, conversation: Conversation, message: Message) -> None:
        await self._conversations.open_turn(message)
        title = None if conversation.title else " ".join(message.text.split())[:60]
        await self._conversations.change(conversation, title=title)

    async def _open(
        self,
        account: Account,
        conversation: Conversation,
        message: Message,
        prompt: Sequence[ChatTurn],
        mode: Mode,
        sampling: Sampling,
    ) -> Turn:
        is_duel = mode == "duel" or (mode == "auto" and random.random() < self._config.duel.share)
        leases: list[Lease] = []
        try:
            for _ in range(2 if is_duel else 1):
                leases.append(await self._pool.lease(user=account.id))
            # The seed decides who is side a, so that a position never stands for an engine or a version.
            seed = secrets.randbits(31)
            random.Random(seed).shuffle(leases)
            turn = _records(account, message, leases, sampling, seed)
            for answer in turn.answers:
                await self._streams.hold(answer.id, self._owner)
            await self._conversations.open_turn(None, turn.answers, turn.duel)
        except BaseException:
            for lease in leases:
                await lease.release()
            raise
        speakers = [Speaker(answer, lease) for answer, lease in zip(turn.answers, leases, strict=True)]
        task = asyncio.create_task(self._run(conversation, turn, speakers, prompt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return turn

    async def _run(
        self, conversation: Conversation, turn: Turn, speakers: list[Speaker], prompt: Sequence[ChatTurn]
    ) -> None:
        """Both sides at once; their text leaves in shared ticks, so that no timing tells them apart."""
        sends = [AnswerStart(answer_id=one.answer.id, side=one.answer.side) for one in speakers]
        for event in sends:
            await self._patiently(lambda event=event: self._send(turn.stream_id, event))  # type: ignore[misc]
        sides = [asyncio.create_task(self._speak(speaker, prompt)) for speaker in speakers]
        held = looked = time.monotonic()
        try:
            while not all(side.done() for side in sides):
                await asyncio.wait(sides, timeout=FLUSH_S)
                at = time.monotonic()
                try:
                    await self._flush(turn.stream_id, speakers)
                    if at - held > HOLD_S:
                        held = at
                        for one in speakers:
                            await self._streams.hold(one.answer.id, self._owner)
                    if at - looked > STOP_LOOK_S:
                        looked = at
                        for one, side in zip(speakers, sides, strict=True):
                            if not side.done() and await self._streams.stop_requested(one.answer.id):
                                side.cancel()
                except StoreUnavailable:
                    await asyncio.sleep(0.2)  # the text waits in the speakers
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            for speaker in speakers:
                await speaker.lease.release()
            await self._patiently(lambda: self._end(conversation, turn, speakers))

    async def _speak(self, speaker: Speaker, prompt: Sequence[ChatTurn]) -> None:
        """One side to its end; whatever happens, the answer says how it ended."""
        ended: dict[str, object]
        generation = self._pool.stream(speaker.lease, prompt, speaker.answer.sampling)
        try:
            async for delta in generation:
                speaker.unsent += delta.text
                speaker.answer = speaker.answer.model_copy(update={"text": speaker.answer.text + delta.text})
            ended = {
                "state": "finished",
                "finish_reason": delta.finish_reason,
                "prompt_tokens": delta.prompt_tokens,
                "response_tokens": delta.response_tokens,
            }
        except asyncio.CancelledError:
            ended = {"state": "stopped", "finish_reason": "stopped"}
        except (EngineFailed, Problem) as error:
            log.warning("answer %s failed: %s", speaker.answer.id, error)
            said = "the model broke off; try again"
            ended = {"state": "failed", "finish_reason": "error", "error": said}
        finally:
            await generation.aclose()
        ended |= {"ended_at": now(), "versions": speaker.lease.versions}
        speaker.answer = speaker.answer.model_copy(update=ended)
        speaker.ended = True

    async def _flush(self, stream_id: str, speakers: list[Speaker]) -> None:
        if not all(one.ended or one.answer.text for one in speakers):
            return  # the first words of both sides appear together
        for speaker in speakers:
            if text := speaker.unsent:
                await self._send(stream_id, AnswerDelta(answer_id=speaker.answer.id, text=text))
                speaker.unsent = speaker.unsent[len(text) :]

    async def _end(self, conversation: Conversation, turn: Turn, speakers: list[Speaker]) -> None:
        await self._flush(turn.stream_id, speakers)
        for speaker in speakers:
            await self._conversations.save_answer(speaker.answer)
            await self._send(turn.stream_id, _end_of(speaker.answer))
        answers = [speaker.answer for speaker in speakers]
        if turn.duel and not why_not_votable(answers):
            await self._send(turn.stream_id, DuelReady(duel_id=turn.duel.id))
        if not turn.duel and answers[0].state != "failed":
            fresh = await self._conversations.get(conversation.id)
            if fresh:
                await self._conversations.change(fresh, leaf_id=answers[0].id)
        await self._send(turn.stream_id, TurnEnd())
        await self._streams.finish(turn.stream_id)
        for answer in answers:
            await self._streams.release(answer.id)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, waiting up to a minute for Redis to come back."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await work()
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    async def _send(self, stream_id: str, event: Event) -> None:
        data = event.model_dump(mode="json")
        await self._streams.append(stream_id, data["type"], data)


def _records(
    account: Account, message: Message, leases: Sequence[Lease], sampling: Sampling, seed: int
) -> Turn:
    stream_id, at = new_id("stream"), now()
    sides: tuple[Side | None, ...] = ("a", "b") if len(leases) == 2 else (None,)
    duel_id = new_id("duel") if len(leases) == 2 else None
    answers = tuple(
        Answer(
            id=new_id("ans"),
            conversation_id=message.conversation_id,
            parent_id=message.id,
            stream_id=stream_id,
            duel_id=duel_id,
            side=side,
            policy_version=lease.version,
            versions=lease.versions,
            sampling=sampling,
            created_at=at,
        )
        for side, lease in zip(sides, leases, strict=True)
    )
    duel = None
    if duel_id:
        duel = Duel(
            id=duel_id,
            conversation_id=message.conversation_id,
            parent_id=message.id,
            stream_id=stream_id,
            answer_a=answers[0].id,
            answer_b=answers[1].id,
            seed=seed,
            owner_id=account.id,
            created_at=at,
        )
    return Turn(message, answers, duel, stream_id)


def _end_of(answer: Answer) -> AnswerEnd:
    return AnswerEnd(
        answer_id=answer.id, state=answer.state, finish_reason=answer.finish_reason, error=answer.error
    )


def why_not_votable(answers: Sequence[Answer]) -> str | None:
    """Why a duel between these answers cannot be voted on; None when it can."""
    for answer in answers:
        if answer.state == "streaming":
            return "both answers must be finished first"
        if answer.state != "finished":
            return f"answer {answer.side} was {answer.state}"
        if len(answer.versions) != 1:
            return f"answer {answer.side} was made by two versions"
    return None


__all__ = ["Mode", "QueueFull", "Turn", "TurnService", "why_not_votable"]
