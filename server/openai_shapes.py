"""What the OpenAI-compatible endpoints take and give: an allow-list, never passed on as it came."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from server.engines.completion import Asked
from server.errors import Problem
from server.shapes import Text
from store.records import ChatTurn, DuelChoice, Sampling, ThumbChoice

UNSUPPORTED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "tools": ("this server calls no tools", ([],)),
    "tool_choice": ("this server calls no tools", ("none", "auto")),
    "parallel_tool_calls": ("this server calls no tools", (False, True)),
    "functions": ("this server calls no functions", ([],)),
    "function_call": ("this server calls no functions", ("none", "auto")),
    "audio": ("this server speaks text only", ()),
    "modalities": ("this server speaks text only", (["text"],)),
    "prediction": ("this server does not use predicted outputs", ()),
    "web_search_options": ("this server does not search", ()),
    "moderation": ("this server does not moderate", ()),
    "reasoning_effort": ("the model has no reasoning that could be set", ("none",)),
    "verbosity": ("the model's verbosity cannot be set", ("medium",)),
}
"""Fields of OpenAI's that would change the answer and that Heed does not do: why, and the values that ask
for nothing. `null` always asks for nothing."""

TAKEN_AND_IGNORED = (
    "user", "metadata", "service_tier", "safety_identifier",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
)  # fmt: skip
"""Fields of OpenAI's that change no answer: callers may send them, nothing is done with them."""


class Part(BaseModel):
    """A piece of a message; only text."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


Token = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Content = Annotated[list[Part], BeforeValidator(_parts, json_schema_input_type=str | list[Part])]
StopText = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Stop = Annotated[
    list[StopText],
    Field(max_length=4),
    BeforeValidator(_listed, json_schema_input_type=StopText | list[StopText]),
]


def _given(body: Any) -> Any:
    """The fields that ask for something: clients send `null` for what they leave out."""
    return (
        {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body
    )


class TurnIn(BaseModel):
    """One message. A client may send back an answer as it got it: its empty fields are nothing."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: str | None = Field(default=None, max_length=64)
    """Taken and ignored: chat templates have no place for it."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, turn: Any) -> Any:
        given = _given(turn)
        if isinstance(given, dict) and given.get("role") in ("tool", "function"):
            raise _unsupported("messages", "this server calls no tools")
        return given

    def turn(self) -> ChatTurn:
        role = "system" if self.role == "developer" else self.role
        return ChatTurn(role=role, content="".join(part.text for part in self.content))


class StreamOptions(BaseModel):
    """What a stream holds beside the words."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False
    """Taken and ignored."""


class ResponseFormat(BaseModel):
    """Free text or a JSON object.

    No schema of the caller's: it would be compiled inside the engine, where a hostile one stops everybody.
    """

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object"]


class CompletionIn(BaseModel):
    """A field that is not here is refused by name, so that nothing is dropped silently."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    messages: Annotated[list[TurnIn], Field(min_length=1, max_length=200)]
    max_tokens: int | None = Field(default=None, ge=1, le=8192)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=8192)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=8)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63 - 8)
    stop: Stop | None = None
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: Annotated[dict[Token, Bias], Field(max_length=300)] | None = None
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    store: bool = True
    """False: the answer is not kept, so no feedback can come to it."""
    ignore_eos: bool = False
    """vLLM's own, for its benchmark: speak up to the length limit."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_dropped_silently(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        given = _given(body)
        for name, (why, neutral) in UNSUPPORTED.items():
            if name in given and given[name] not in neutral:
                raise _unsupported(name, why)
        kept = {
            name: value for name, value in given.items() if name not in (*UNSUPPORTED, *TAKEN_AND_IGNORED)
        }
        if unknown := sorted(kept.keys() - cls.model_fields.keys()):
            named = ", ".join(repr(str(name)[:80]) for name in unknown[:10])
            detail = f"unknown field{'s' if len(unknown) > 1 else ''}: {named}"
            raise Problem(422, "unknown_parameter", detail, field=str(unknown[0])[:80], remedy="leave it out")
        if kept.get("top_logprobs") and not kept.get("logprobs"):
            detail = "top_logprobs needs logprobs"
            raise Problem(422, "invalid", detail, field="top_logprobs", remedy="set logprobs to true")
        return kept

    def asked(self, default: Sampling) -> Asked:
        """How the answer is drawn: what the request says, else the server's defaults."""
        names = (
            "temperature",
            "top_p",
            "seed",
            "stop",
            "frequency_penalty",
            "presence_penalty",
            "logit_bias",
        )
        said = {name: getattr(self, name) for name in names}
        said["max_tokens"] = self.max_completion_tokens or self.max_tokens
        given = {name: value for name, value in said.items() if value is not None}
        return Asked(
            **{**default.model_dump(), **given},
            top_logprobs=self.top_logprobs if self.logprobs else None,
            json_object=self.response_format is not None and self.response_format.type == "json_object",
            ignore_eos=self.ignore_eos,
        )


class FeedbackIn(BaseModel):
    """What somebody thought of a response: exactly one of `rating`, `choice` and `correction`."""

    model_config = ConfigDict(extra="forbid")

    response_id: str = Field(max_length=200)
    index: int = Field(default=0, ge=0)
    """Which choice a rating or a correction is about."""
    rating: ThumbChoice | None = None
    choice: DuelChoice | None = None
    """Of a response with two choices: `a` is the first of them."""
    correction: Text | None = None
    """What it should have said."""
    comment: str | None = Field(default=None, max_length=2000)


class FeedbackOut(BaseModel):
    """The vote that the feedback became."""

    id: str
    object: Literal["feedback"] = "feedback"
    response_id: str
    index: int | None
    kind: str
    choice: str
    comment: str | None
    model: str
    """The version that answered."""
    created: int


def _unsupported(field: str, why: str) -> Problem:
    return Problem(422, "unsupported_parameter", f"{field}: {why}", field=field, remedy="leave it out")
