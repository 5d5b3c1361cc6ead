"""Conversations: what was said, and what answered."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record

Side = Literal["a", "b"]
AnswerState = Literal["streaming", "finished", "stopped", "failed"]
Check = Literal["gold", "repeat"]
AskedHow = Literal["uncertain", "random"]


class ChatTurn(Record):
    """One line of a prompt as a chat template takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Record):
    """How one answer is drawn from the policy."""

    max_tokens: int = Field(default=256, ge=1, le=8192)
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    seed: int | None = None
    stop: tuple[str, ...] = Field(default=(), max_length=4)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    logit_bias: dict[int, float] = Field(default_factory=dict, max_length=300)
    """Token id -> what is added to its logit."""


class Conversation(Record):
    """A tree of messages; `leaf_id` is the end of the branch that is shown."""

    id: str
    owner_id: str
    title: str
    system_prompt: str | None = None
    leaf_id: str | None = None
    created_at: datetime
    updated_at: datetime


class Message(Record):
    """A user's turn. `parent_id` is the answer before it (None at the root)."""

    id: str
    conversation_id: str
    parent_id: str | None
    text: str
    system_prompt: str | None = None
    """What its answers were told first: the conversation's system prompt of that time; empty means none."""
    created_at: datetime
    before: tuple[ChatTurn, ...] = ()
    """Of a root that came by the API: the turns before it, which were said elsewhere."""


class Answer(Record):
    """One assistant turn; siblings share `parent_id`, the user's message.

    `versions` names every policy version that made part of the text, in order: one entry, unless a
    single engine was swapped while it spoke (such an answer never counts in a duel). Version 0 stands for a
    text that no policy of this platform made; an imported answer has no `versions` and is never voted on.
    """

    id: str
    conversation_id: str
    parent_id: str
    stream_id: str
    duel_id: str | None = None
    side: Side | None = None
    state: AnswerState = "streaming"
    text: str = ""
    policy_version: int
    versions: tuple[int, ...]
    sampling: Sampling
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    continued: tuple[int, ...] = ()
    """Lengths of the text at which it broke off and went on: on another engine, or when somebody asked."""
    finish_reason: Literal["stop", "length", "stopped", "error"] | None = None
    error: str | None = None
    leak: str | None = None
    """The words by which the answer names its model; None: it does not."""
    edited_from: str | None = None
    """The answer that a person rewrote into this one; its version is that of the original."""
    withdrawn: bool = False
    """Whoever rewrote it took the vote back: it is shown only where the chat went on from it."""
    created_at: datetime
    ended_at: datetime | None = None


class Duel(Record):
    """Two answers to one message, shown blind. `seed` decided which engine answer became side a."""

    id: str
    conversation_id: str
    parent_id: str
    stream_id: str
    answer_a: str
    answer_b: str
    seed: int
    owner_id: str
    vote_id: str | None = None
    revealed: bool = False
    """Its versions were shown with a vote: after an undo the next vote on it is not blind."""
    item_id: str | None = None
    """The item of the annotators' queue that it serves."""
    check: Check | None = None
    asked: AskedHow | None = None
    """How the platform chose to ask about these answers; None: it did not."""
    created_at: datetime


class Response(Record):
    """An answer or several to one prompt of an API client, kept for a while so that feedback can come.

    Only with feedback do its conversation, message and answers join the others.
    """

    id: str
    conversation: Conversation
    message: Message
    answers: tuple[Answer, ...]
    """One a choice, in the order of the choices."""
