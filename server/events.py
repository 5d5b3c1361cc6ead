"""The events of a turn's stream, one discriminated union: what the browser may be sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.records import AnswerState, Side


class Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerStart(Event):
    type: Literal["answer.start"] = "answer.start"
    answer_id: str
    side: Side | None


class AnswerDelta(Event):
    type: Literal["answer.delta"] = "answer.delta"
    answer_id: str
    text: str


class AnswerEnd(Event):
    type: Literal["answer.end"] = "answer.end"
    answer_id: str
    state: AnswerState
    finish_reason: str | None
    error: str | None


class DuelReady(Event):
    type: Literal["duel.ready"] = "duel.ready"
    duel_id: str


class TurnEnd(Event):
    type: Literal["turn.end"] = "turn.end"


TurnEvent = Annotated[
    AnswerStart | AnswerDelta | AnswerEnd | DuelReady | TurnEnd, Field(discriminator="type")
]
