"""Stream ids: `milliseconds-number`, as Redis gives them to the entries of a stream."""

from __future__ import annotations

from datetime import UTC, datetime


def when(entry: str) -> datetime:
    """The time of a stream id."""
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, tz=UTC)


def position(entry: str) -> tuple[int, int]:
    """A stream id as numbers: as text 9-0 would come after 10-0."""
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)


def padded(entry: str) -> str:
    """A stream id that sorts as text."""
    milliseconds, sequence = position(entry)
    return f"{milliseconds:015d}-{sequence:012d}"
