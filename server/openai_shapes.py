"""What the OpenAI-compatible endpoint takes: an allow-list, never passed on as it came."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from store.records import ChatTurn, Sampling

# Fields that would change the answer but that Heed does not do -> the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "tools": (None, []),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
}


class Part(BaseModel):
    """A piece of a message; only text."""

    type: Literal["text"]
    text: str


class TurnIn(BaseModel):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    def turn(self) -> ChatTurn:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return ChatTurn(role="system" if self.role == "developer" else self.role, content=text)


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class CompletionIn(BaseModel):
    """Unknown fields are ignored, as clients expect; wrong types and what Heed cannot do are refused."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: str
    messages: Annotated[list[TurnIn], Field(min_length=1, max_length=200)]
    max_tokens: int | None = Field(default=None, ge=1, le=8192)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=8192)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63 - 1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_dropped_silently(cls, body: Any) -> Any:
        if isinstance(body, dict):
            for name, neutral in UNSUPPORTED.items():
                if body.get(name) not in neutral:
                    raise ValueError(f"{name} is not supported here; leave it out")
        return body

    def sampling(self, default: Sampling) -> Sampling:
        given = {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": None
            if self.stop is None
            else (self.stop,)
            if isinstance(self.stop, str)
            else tuple(self.stop),
        }
        return default.model_copy(update={name: value for name, value in given.items() if value is not None})
