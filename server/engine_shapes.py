"""What the API of the engine fleet takes and gives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from server.shapes import In, Out
from store.records import EngineStatus

EngineName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\-\[\]:]+$", max_length=300)]
Device = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class EngineIn(In):
    """An engine that joins."""

    name: EngineName
    address: Address = Field(examples=["https://10.0.0.7:8090"])
    """Of its sidecar."""
    device: Device | None = None
    """What it computes on, if other engines share it; none: its own."""


class DrainIn(In):
    draining: bool
    """True: no new answers and no other version. False: take part again."""


class EngineOut(Out):
    status: EngineStatus
    joined: bool
    """It may leave; others are in the servers' settings."""


class EnginePage(Out):
    items: list[EngineOut]
