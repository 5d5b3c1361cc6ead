"""Engines: who answers, with which version."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from store.records.base import Record

EngineState = Literal["starting", "ready", "loading", "down"]


class EngineStatus(Record):
    """What one vLLM engine holds and how it is, as the server that drives it saw it last."""

    name: str
    address: str
    state: EngineState
    version: int | None = None
    in_flight: int = 0
    error: str | None = None
    draining: bool = False
    """Somebody asked that it gets no new answers."""
    device: str = ""
    """What it computes on: engines with the same device share it."""
    seen_at: datetime


class EngineMember(Record):
    """An engine on another host that joined at run time."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    address: str = Field(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$", max_length=300)
    """Of its sidecar, `https://host:port`."""
    device: str = Field(min_length=1, max_length=64)
    """What it computes on: engines that name the same device share it."""
    actor: str
    joined_at: datetime
