"""The events of a turn, one discriminated union, and the response that carries events to a browser."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from store.records import AnswerState, Side
from store.streams import Entry

log = logging.getLogger("heed.streams")

RETRY_MS = 1000
HEARTBEAT_S = 15
SEND_TIMEOUT_S = 30


class Event(BaseModel):
    """Base of the events: frozen, nothing beside the declared fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerStart(Event):
    """An answer begins; in a duel both do, a first."""

    type: Literal["answer.start"] = "answer.start"
    answer_id: str
    side: Side | None


class TurnWaiting(Event):
    """The engines are busy: so many other requests go first. Comes again whenever that changes."""

    type: Literal["turn.waiting"] = "turn.waiting"
    ahead: int


class AnswerDelta(Event):
    """More of an answer's text. The deltas of an answer, joined, are its text."""

    type: Literal["answer.delta"] = "answer.delta"
    answer_id: str
    text: str


class AnswerEnd(Event):
    """An answer has ended and is saved."""

    type: Literal["answer.end"] = "answer.end"
    answer_id: str
    state: AnswerState
    finish_reason: str | None
    error: str | None


class DuelReady(Event):
    """Both answers have finished: the duel can be voted on."""

    type: Literal["duel.ready"] = "duel.ready"
    duel_id: str


class TurnEnd(Event):
    """Nothing follows: close the stream."""

    type: Literal["turn.end"] = "turn.end"


TurnEvent = Annotated[
    AnswerStart | TurnWaiting | AnswerDelta | AnswerEnd | DuelReady | TurnEnd, Field(discriminator="type")
]


def sse(entry: Entry) -> ServerSentEvent:
    """A stored entry as it is sent; its id is what Last-Event-ID brings back."""
    return ServerSentEvent(json.dumps(entry.data), event=entry.event, id=entry.id)


class EventStream(EventSourceResponse):
    """An event stream with our heartbeat, and headers that keep proxies from holding it back."""

    media_type = "text/event-stream"

    # FastAPI reads `status_code` off this signature for the schema.
    def __init__(self, events: AsyncIterable[ServerSentEvent | bytes], status_code: int = 200) -> None:
        super().__init__(
            events,
            status_code,
            headers={"Cache-Control": "no-cache, no-transform"},
            sep="\n",
            ping=HEARTBEAT_S,
            ping_message_factory=lambda: ServerSentEvent(comment="alive", sep="\n"),
            send_timeout=SEND_TIMEOUT_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the reader takes nothing for 30 s.

        Then the connection is closed in the middle of a chunk, which no client takes for the end; a browser
        comes back with the last id that it saw.
        """
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("cut off a reader of %s that took nothing for %s s", scope["path"], self.send_timeout)
