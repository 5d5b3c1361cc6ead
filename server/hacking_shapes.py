"""What the reward hacking panel is given."""

from __future__ import annotations

from datetime import datetime

from server.shapes import Out
from store.statistics.hacking import Level
from store.statistics.intervals import Share


class WatchedVersion(Out):
    """One version against older ones, on the same blind duels; and what the gate measured of it."""

    number: int
    people: Share
    """Of the decisive duels with older versions, those that people gave to it."""
    model: Share
    """Of the same duels, those in which its reward model scored it higher."""
    lead: float | None
    """Mean score over that of the older answer."""
    predicted: Share
    """Of all votes that its reward model had not seen, those that it predicted; duels of one version too."""
    length: float | None
    """Times the length of the version before, on the gate's prompts."""
    entropy: float | None
    """Times its entropy."""
    repeats: float | None
    """Share of 4-grams that an answer had said before."""


class HackingOut(Out):
    level: Level
    words: str
    """What the watch found last; empty before there were duels between versions."""
    since: datetime | None
    """Since when the level is this one."""
    judged: tuple[int, ...]
    """The versions that it is about."""
    look_back: int
    """Newest versions that are judged together."""
    versions: list[WatchedVersion]
    """Oldest first."""
