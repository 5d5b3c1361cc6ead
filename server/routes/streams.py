"""Server-sent events: a turn as it is spoken, and the admin's feed. Each event has an id to continue from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from server.dependencies import Admin, Heed, Me, Parts
from server.errors import Problem, not_found
from store.connection import StoreUnavailable
from store.streams import Entry

router = APIRouter(prefix="/api/v1", tags=["streams"])

HEARTBEAT_S = 15
RETRY_MS = 1000
After = Annotated[str | None, Query(pattern=r"^\d{1,20}(-\d{1,20})?$")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,20}(-\d{1,20})?$")]


@router.get("/streams/{stream_id}", response_class=EventSourceResponse)
async def turn_events(
    stream_id: str, heed: Heed, me: Me, after: After = None, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """The events of a turn from the start, or after `Last-Event-ID`; ends with `turn.end`."""
    if not await heed.streams.exists(stream_id):
        raise not_found("stream")
    return _respond(_turn(heed, stream_id, last_event_id or after or "0"))


@router.get("/events", response_class=EventSourceResponse)
async def admin_events(
    heed: Heed, admin: Admin, after: After = None, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """Runs, metrics, versions and votes as they happen."""
    start = last_event_id or after or await heed.feed.last_id()
    return _respond(_events(heed.feed.read(start)))


@router.post("/answers/{answer_id}/stop", status_code=202)
async def stop(answer_id: str, heed: Heed, me: Me) -> dict[str, str]:
    """Stop this answer in the engine; the stream then says so."""
    answer = await heed.conversations.answer(answer_id)
    conversation = await heed.conversations.get(answer.conversation_id) if answer else None
    if answer is None or conversation is None or conversation.owner_id != me.id:
        raise not_found("answer")
    if answer.state != "streaming":
        raise Problem(409, "not_streaming", "this answer has ended already", remedy="reload")
    await heed.streams.request_stop(answer_id)
    return {"status": "stopping"}


def _respond(events: AsyncIterator[ServerSentEvent]) -> EventSourceResponse:
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return EventSourceResponse(events, ping=HEARTBEAT_S, headers=headers)


async def _events(entries: AsyncIterator[Entry | None]) -> AsyncIterator[ServerSentEvent]:
    try:
        async for entry in entries:
            if entry is not None:
                yield _sse(entry)
    except StoreUnavailable:
        return  # the browser reconnects with the last id it saw


async def _turn(heed: Parts, stream_id: str, after: str) -> AsyncIterator[ServerSentEvent]:
    speaking: set[str] = set()
    try:
        async for entry in heed.streams.read(stream_id, after):
            if entry is None:
                if await _abandoned(heed, stream_id, speaking):
                    return
                continue
            if entry.event == "answer.start":
                speaking.add(entry.data["answer_id"])
            elif entry.event == "answer.end":
                speaking.discard(entry.data["answer_id"])
            yield _sse(entry)
            if entry.event == "turn.end":
                return
    except StoreUnavailable:
        return


async def _abandoned(heed: Parts, stream_id: str, speaking: set[str]) -> bool:
    """Nothing came for a while: end what a dead server left; True when the stream itself is gone."""
    for answer_id in speaking:
        answer = await heed.conversations.answer(answer_id)
        if answer:
            await heed.turns.interrupt_if_dead(answer)
    return not await heed.streams.exists(stream_id)


def _sse(entry: Entry) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(entry.data), event=entry.event, id=entry.id, retry=RETRY_MS)
