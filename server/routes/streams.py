"""Server-sent events: a turn as it is spoken, and the admin's feed. Each event has an id to continue from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sse_starlette.event import ServerSentEvent
from starlette.responses import Response

from server.dependencies import Heed, Me, OwnAnswer, Parts, Watcher, caller_of
from server.errors import Problem, not_found
from server.events import RETRY_MS, EventStream, TurnEvent, sse
from store.connection import StoreUnavailable
from store.records import Answer
from store.streams import Entry

router = APIRouter(prefix="/api/v1", tags=["streams"])

STORE_RETRY_S = 0.5
LOOK_AGAIN_S = 30.0
ENTRY_ID = r"^\d{1,19}(-\d{1,19})?$"
After = Annotated[str | None, Query(pattern=ENTRY_ID, description="Only what came after this event id")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=ENTRY_ID)]


@router.get(
    "/streams/{stream_id}",
    response_class=EventStream,
    responses={200: {"model": TurnEvent}, 204: {"description": "Nothing is left to tell"}},
)
async def turn_events(
    stream_id: str, heed: Heed, me: Me, after: After = None, last_event_id: LastEventId = None
) -> Response:
    """The events of a turn from the start, or after `Last-Event-ID`; ends with `turn.end`."""
    answers = await _answers(heed, me.id, stream_id)
    if not await heed.streams.exists(stream_id):
        detail = "this stream ended more than a quarter of an hour ago"
        raise Problem(410, "gone", detail, remedy="GET the conversation: it has the texts")
    start = last_event_id or after or "0"
    ended = all(answer.state != "streaming" for answer in answers)
    if ended and not await heed.streams.has_more(stream_id, start):
        return Response(status_code=204)  # a browser that gets it stops reconnecting
    return EventStream(_counted(heed, _turn(heed, me.id, stream_id, start)))


@router.get("/events", response_class=EventStream)
async def admin_events(
    request: Request, heed: Heed, me: Watcher, after: After = None, last_event_id: LastEventId = None
) -> Response:
    """Events `run`, `metric`, `policy`, `vote`, `opinions`, `engines`; from now on, or after an id."""
    start = last_event_id or after or await heed.feed.last_id()
    return EventStream(_counted(heed, _feed(request, heed, start)))


@router.post("/answers/{answer_id}/stop", status_code=202)
async def stop(answer: OwnAnswer, heed: Heed) -> dict[str, str]:
    """Stop this answer in the engine; the stream then says so. One that has ended stays as it is."""
    await heed.turns.stop(answer)
    return {"status": "stopping"}


async def _answers(heed: Parts, owner_id: str, stream_id: str) -> list[Answer]:
    """The turn's answers, if it is the caller's: a stream's id begins with its conversation's."""
    conversation = await heed.conversations.get(stream_id.partition(".")[0])
    if conversation is None or conversation.owner_id != owner_id:
        raise not_found("stream")
    answers = await heed.conversations.answers(conversation.id)
    own = [answer for answer in answers if answer.stream_id == stream_id]
    if not own:
        raise not_found("stream")
    own = await heed.turns.settled(own)
    await heed.turns.closed(stream_id, own)
    return own


async def _turn(heed: Parts, owner_id: str, stream_id: str, after: str) -> AsyncIterator[ServerSentEvent]:
    async for entry in _through_outages(lambda last: heed.streams.read(stream_id, last), after):
        if entry is None:
            # Nothing for a while: a dead server's answers are marked, and the stream gets its end.
            await _answers(heed, owner_id, stream_id)
            if not await heed.streams.exists(stream_id):
                return
            continue
        yield sse(entry)
        if entry.event == "turn.end":
            return


async def _feed(request: Request, heed: Parts, after: str) -> AsyncIterator[ServerSentEvent]:
    looked = time.monotonic()
    async for entry in _through_outages(heed.feed.read, after):
        if time.monotonic() - looked > LOOK_AGAIN_S:
            # Signed out, disabled, or another role: a stream that was opened before must not go on.
            caller = await caller_of(request, heed)
            if caller is None or not caller.may("watch", "GET"):
                return
            looked = time.monotonic()
        if entry is not None:
            yield sse(entry)


async def _through_outages(
    read: Callable[[str], AsyncIterator[Entry | None]], after: str
) -> AsyncIterator[Entry | None]:
    """Entries of a stream; while Redis is away the connection stays and goes on where it was."""
    while True:
        try:
            async for entry in read(after):
                if entry is not None:
                    after = entry.id
                yield entry
        except StoreUnavailable:
            await asyncio.sleep(STORE_RETRY_S)


async def _counted(heed: Parts, events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[ServerSentEvent]:
    heed.metrics.sse_clients.inc()
    try:
        yield ServerSentEvent(retry=RETRY_MS)
        async for event in events:
            yield event
    finally:
        heed.metrics.sse_clients.dec()
