"""Which engine is swapped next: a decision about what is seen, with nothing done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from server.engines.pool import Engine

ABSENT_S = 60.0
"""An engine that was away this long is not waited for: the one that is left counts as the only one."""


class Step(NamedTuple):
    """`load`: swap it, nobody is disturbed. `drain`: its answers end first. `hold`: swap it at once."""

    engine: Engine
    how: Literal["load", "drain", "hold"]


def next_step(engines: Sequence[Engine], wanted: int, serving: int | None, at: float) -> Step | None:
    """One step towards `wanted`, or None when there is nothing to do but wait. `at`: monotonic.

    A lone engine is swapped with its answers held. Of two or more, one that serves nobody takes the version
    first; then the others follow one by one, but for one that keeps the version before for a rollback.
    """
    others = [
        engine
        for engine in engines
        if engine.alive and not engine.busy and engine.retry_at <= at and engine.version != wanted
    ]
    if any(engine.state == "ready" and engine.version == wanted for engine in engines):
        return _follow(others)
    expected = [engine for engine in engines if engine.alive or at - engine.absent_since < ABSENT_S]
    if len(expected) == 1:
        return Step(others[0], "hold") if others else None
    spare = [engine for engine in others if engine.version is None or engine.version != serving]
    if not spare and len(others) > 1:
        # All hold the serving version, as after a start: the last one makes room, the others go on.
        spare = others[-1:]
    return _free(spare)


def _follow(others: list[Engine]) -> Step | None:
    """`wanted` serves already: whatever holds nothing, then old versions but for the newest of them."""
    empty = [engine for engine in others if engine.version is None]
    known = sorted((engine for engine in others if engine.version is not None), key=_age)
    return _free(empty or known[:-1])


def _free(candidates: Sequence[Engine]) -> Step | None:
    if not candidates:
        return None
    engine = min(candidates, key=lambda candidate: (len(candidate.leases), _age(candidate)))
    return Step(engine, "drain" if engine.leases else "load")


def _age(engine: Engine) -> int:
    return engine.version or 0
