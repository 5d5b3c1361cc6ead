"""What the web API takes and gives. A duel's versions stay hidden here until its vote is cast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from server.permissions import MAY, Permission
from store.records import (
    Account,
    Activation,
    Answer,
    AnswerState,
    Canary,
    Conversation,
    Duel,
    DuelChoice,
    EngineStatus,
    Message,
    MetricRow,
    Pause,
    PolicyVersion,
    Role,
    Run,
    Sampling,
    Side,
    Strength,
    Vote,
)

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class In(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class SetupIn(In):
    token: str
    name: Name
    password: str = Field(max_length=1000)


class LoginIn(In):
    name: Name
    password: str = Field(max_length=1000)


class AccountIn(LoginIn):
    role: Role = "annotator"


class ConversationIn(In):
    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    system_prompt: Annotated[str, StringConstraints(max_length=20_000)] | None = None


class ConversationChange(In):
    title: Name | None = None
    leaf_id: str | None = None
    """The end of the branch to show: an answer, or a message that has none yet."""
    system_prompt: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    """What the next messages are answered under; empty for none."""


class MessageIn(In):
    text: Text
    parent_id: str | None = None
    mode: Literal["auto", "duel", "single"] = "auto"
    sampling: Sampling | None = None


class AnswersIn(In):
    parent_id: str
    mode: Literal["auto", "duel", "single"] = "auto"


class RollbackIn(In):
    reason: Reason


class AccountOut(Out):
    id: str
    name: str
    role: Role
    may: list[Permission]
    """What the role allows: the page shows what one may do."""


class SetupState(Out):
    needed: bool


class ConversationOut(Out):
    id: str
    title: str
    system_prompt: str | None
    leaf_id: str | None
    created_at: datetime
    updated_at: datetime


class MessageOut(Out):
    id: str
    parent_id: str | None
    text: str
    created_at: datetime


class AnswerOut(Out):
    id: str
    parent_id: str
    duel_id: str | None
    side: Side | None
    state: AnswerState
    text: str
    finish_reason: str | None
    error: str | None
    created_at: datetime
    policy_version: int | None
    """None until the answer's duel is decided, and where the text was imported."""
    stream: str | None
    """Where its events are, while it is streaming."""
    thumb: Literal["up", "down"] | None
    edited_from: str | None
    """The answer that a person rewrote into this one."""
    withdrawn: bool
    """They took it back, but the conversation goes on from it."""


class VoteSaid(Out):
    id: str
    choice: DuelChoice
    strength: Strength
    tags: tuple[str, ...]
    comment: str | None
    early: bool
    leak: str | None
    """The words by which an answer named its model: the vote is not used for ranking."""


class DuelOut(Out):
    id: str
    parent_id: str
    answer_a: str
    answer_b: str
    ready: bool
    """Both answers are there and can be voted on."""
    reason: str | None
    """Why not, when not."""
    vote: VoteSaid | None
    version_a: int | None
    version_b: int | None


class ConversationPage(Out):
    items: list[ConversationOut]
    more: bool
    """More follow after the last one."""


class ConversationTree(Out):
    conversation: ConversationOut
    messages: list[MessageOut]
    answers: list[AnswerOut]
    duels: list[DuelOut]


class TurnOut(Out):
    message: MessageOut
    answers: list[AnswerOut]
    duel: DuelOut | None
    stream: str


class ActiveOut(Out):
    number: int
    since: datetime | None


class VoteCounts(Out):
    total: int
    pending: int
    min_votes: int


class StatusOut(Out):
    active: ActiveOut | None
    previous: int | None
    serving: dict[str, int]
    engines: list[EngineStatus]
    canary: Canary | None
    paused: Pause | None
    votes: VoteCounts
    run: Run | None
    warnings: list[str]


class RunPage(Out):
    items: list[Run]


class MetricOut(MetricRow):
    id: str


class MetricPage(Out):
    items: list[MetricOut]


class PolicyPage(Out):
    items: list[PolicyVersion]
    active: int | None
    previous: int | None
    canary: Canary | None
    timeline: list[Activation]


def account_out(account: Account) -> AccountOut:
    return AccountOut(id=account.id, name=account.name, role=account.role, may=sorted(MAY[account.role]))


def conversation_out(conversation: Conversation) -> ConversationOut:
    return ConversationOut.model_validate(conversation.model_dump(exclude={"owner_id"}))


def message_out(message: Message) -> MessageOut:
    return MessageOut.model_validate(message.model_dump(exclude={"conversation_id"}))


def answer_out(
    answer: Answer, *, hidden: bool, other: Answer | None = None, thumb: str | None = None
) -> AnswerOut:
    """`hidden`: its duel is not decided, so nothing may tell the version; `other` is the duel's other side.

    A side that has finished is shown as streaming until the other has too: the faster side would give its
    version away. While an answer streams its text comes by the stream alone, from the start.
    """
    state = answer.state
    if hidden and state == "finished" and other is not None and other.state == "streaming":
        state = "streaming"
    streaming = state == "streaming"
    fields = answer.model_dump(include=set(AnswerOut.model_fields) - {"policy_version"})
    return AnswerOut.model_validate(
        fields
        | {
            "state": state,
            "text": "" if streaming else answer.text,
            "finish_reason": None if streaming else answer.finish_reason,
            "policy_version": None if hidden or not answer.versions else answer.policy_version,
            "stream": stream_path(answer.stream_id) if streaming else None,
            "thumb": thumb,
        }
    )


def why_not_votable(answers: Sequence[Answer], *, cut: bool = False) -> str | None:
    """Why a duel between these answers cannot be voted on; None when it can. Never says which side.

    `cut`: an early vote stopped one of them and was undone, so that it may be stopped.
    """
    states = {answer.state for answer in answers}
    if "failed" in states:
        return "an answer failed"
    if "stopped" in states and not cut:
        return "an answer was stopped before its end"
    if "streaming" in states:
        return "both answers must be finished first"
    if any(len(answer.versions) != 1 for answer in answers):
        return "the model was swapped while an answer was written"
    return None


def duel_out(duel: Duel, answers: Iterable[Answer], vote: Vote | None) -> DuelOut:
    """A duel; its versions only with its vote."""
    sides = {answer.id: answer for answer in answers}
    a, b = sides[duel.answer_a], sides[duel.answer_b]
    reason = why_not_votable((a, b), cut=duel.revealed)
    return DuelOut(
        id=duel.id,
        parent_id=duel.parent_id,
        answer_a=duel.answer_a,
        answer_b=duel.answer_b,
        ready=reason is None,
        reason=reason,
        vote=vote_said(vote) if vote else None,
        version_a=a.policy_version if vote else None,
        version_b=b.policy_version if vote else None,
    )


def vote_said(vote: Vote) -> VoteSaid:
    leak = next((answer.leak for answer in vote.answers if answer.leak), None)
    said = vote.model_dump(include=set(VoteSaid.model_fields))
    return VoteSaid.model_validate({**said, "leak": leak})


def stream_path(stream_id: str) -> str:
    return f"/api/v1/streams/{stream_id}"
