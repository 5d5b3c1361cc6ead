"""The ramp of a canary: which share it has after how many votes."""

from __future__ import annotations

from store.records import Canary


def rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The same shares. Raises ValueError unless they rise from above 0 to at most 1."""
    if any(not 0 < share <= 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise ValueError("write shares above 0, at most 1, each larger than the one before")
    return shares


def on_a_ramp(canary: Canary, ramp: tuple[float, ...], every: int) -> Canary:
    """The canary as it begins: the first share of the ramp, and the next after `every` decisive votes."""
    return canary.model_copy(update=_step(ramp, every))


def next_step(canary: Canary, votes: int, every: int) -> Canary | None:
    """The canary with its next share, when so many decisive votes allow it; the one after it `every` later.

    The last share stays until the votes decide or are as many as may be. The test between the two versions is
    about the votes on their duels alone, of which each is fair whatever share of the conversations has them.
    """
    if canary.next_at is None or votes < canary.next_at:
        return None
    return canary.model_copy(update=_step(canary.ramp, votes + every))


def _step(ramp: tuple[float, ...], next_at: int) -> dict[str, object]:
    share, *later = ramp
    return {"share": share, "ramp": tuple(later), "next_at": next_at if later else None}
