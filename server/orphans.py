"""Answers whose server is gone: found when somebody looks at them, ended with what they had said."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from server.events import AnswerEnd, TurnEnd
from store.conversations import Conversations
from store.records import Answer, now
from store.streams import AnswerStream

GRACE_S = 1.5
INTERRUPTED = "the server that wrote this answer went away"


async def settled(
    answers: Sequence[Answer], own: Collection[str], conversations: Conversations, streams: AnswerStream
) -> list[Answer]:
    """The same answers; orphans are marked failed first. `own`: streams that this server writes."""

    async def is_orphan(answer: Answer) -> bool:
        if answer.state != "streaming" or answer.stream_id in own:
            return False
        return not await streams.alive(answer.id)

    if not [answer for answer in answers if await is_orphan(answer)]:
        return list(answers)
    # A server that lost Redis for a moment renews its hold within this time.
    await asyncio.sleep(GRACE_S)
    for stream_id in {answer.stream_id for answer in answers if await is_orphan(answer)}:
        turn = [answer for answer in answers if answer.stream_id == stream_id]
        await _end(
            stream_id, [answer for answer in turn if answer.state == "streaming"], conversations, streams
        )
    fresh = [await conversations.answer(answer.id) for answer in answers]
    return [answer for answer in fresh if answer is not None]


async def closed(
    stream_id: str, answers: Sequence[Answer], own: Collection[str], streams: AnswerStream
) -> None:
    """End the stream of a turn whose server saved how its answers ended, and died before it said so."""

    async def was_left() -> bool:
        if stream_id in own or any(answer.state == "streaming" for answer in answers):
            return False
        return not (await streams.ended(stream_id) or any([await streams.alive(one.id) for one in answers]))

    if not await was_left():
        return
    await asyncio.sleep(GRACE_S)
    if await was_left():
        for answer in answers:
            await _say(stream_id, _end_of(answer), streams)
        await _say(stream_id, TurnEnd(), streams)
        await streams.finish(stream_id)


def _end_of(answer: Answer) -> AnswerEnd:
    state = "failed" if answer.state == "streaming" else answer.state
    return AnswerEnd(answer_id=answer.id, state=state, finish_reason=answer.finish_reason, error=answer.error)


async def _say(stream_id: str, event: AnswerEnd | TurnEnd, streams: AnswerStream) -> None:
    await streams.append(stream_id, event.type, event.model_dump(mode="json"))


async def _end(
    stream_id: str, answers: Sequence[Answer], conversations: Conversations, streams: AnswerStream
) -> None:
    """End a turn that nobody writes any more: its stream, then its records."""
    events: list[AnswerEnd | TurnEnd] = [
        AnswerEnd(answer_id=answer.id, state="failed", finish_reason="error", error=INTERRUPTED)
        for answer in answers
    ]
    for event in (*events, TurnEnd()):
        await streams.append(stream_id, event.type, event.model_dump(mode="json"))
    await streams.finish(stream_id)
    texts = {answer.id: "" for answer in answers}
    async for entry in streams.read(stream_id):
        if entry is None or entry.event == "turn.end":
            break
        if entry.event == "answer.delta" and entry.data["answer_id"] in texts:
            texts[entry.data["answer_id"]] += entry.data["text"]
    for answer in answers:
        changes: dict[str, object] = {"state": "failed", "finish_reason": "error", "error": INTERRUPTED}
        # One that was being continued has its text from before, if its stream had nothing yet.
        changes |= {"text": texts[answer.id] or answer.text, "ended_at": now()}
        await conversations.save_answer(answer.model_copy(update=changes))
