"""Which engines are swapped next, and to what: a decision about what is seen, with nothing done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from server.engines.engine import Engine

ABSENT_S = 60.0
"""An engine that was away this long is not waited for: the one that is left counts as the only one."""


class Wish(NamedTuple):
    """What the engines should hold."""

    active: int
    canary: int | None = None
    share: float = 0.0
    """Of the answers for the canary."""
    previous: int | None = None
    """The version that a rollback returns to."""
    max_unavailable: int = 1
    """Engines that may be drained or loaded at once while the others answer."""


class Step(NamedTuple):
    """Load `version` into the engine.

    `load`: it serves nobody. `drain`: its answers end first. `hold`: at once, its answers are held meanwhile.
    """

    engine: Engine
    how: Literal["load", "drain", "hold"]
    version: int


def next_steps(engines: Sequence[Engine], wish: Wish, serving: int | None, at: float) -> list[Step]:
    """Steps towards the wish that may be done now; none when all is well or must wait. `at`: monotonic.

    A lone engine is swapped with its answers held. Of two or more, one that serves nobody takes the active
    version first, and the others follow, a few at a time. While a canary runs, each of the two versions has
    an engine; else one engine keeps the version before for a rollback.
    """
    engines = [engine for engine in engines if not engine.leaving]
    free = [engine for engine in engines if engine.alive and not engine.busy and engine.retry_at <= at]
    if not any(engine.state == "ready" and engine.version == wish.active for engine in engines):
        return _first(engines, free, wish, serving, at)
    empty = [engine for engine in free if engine.version is None]
    held = sorted((engine for engine in free if engine.version is not None), key=_ease)
    lacking = _canaries(engines, wish)
    if wish.canary is not None:
        lacking -= sum(wish.canary in (engine.version, engine.target) for engine in engines)
    versions = [wish.canary] * max(0, lacking) if wish.canary is not None else []
    # An engine that holds nothing gives no answer that could be missed: there is no limit for these.
    steps = [_step(engine, versions.pop() if versions else wish.active) for engine in empty]
    room = wish.max_unavailable - sum(engine.target is not None for engine in engines)
    taken = _for_the_canary(engines, held, wish)[: len(versions)]
    moves = [_step(engine, version) for engine, version in zip(taken, versions, strict=False)]
    moves += [_step(engine, wish.active) for engine in _follow(held, wish, -lacking) if engine not in taken]
    return steps + moves[: max(0, room)]


def _first(
    engines: Sequence[Engine], free: Sequence[Engine], wish: Wish, serving: int | None, at: float
) -> list[Step]:
    """Nobody gives the active version yet: one engine takes it, and shows whether it is sound."""
    expected = [engine for engine in engines if engine.alive or at - engine.absent_since < ABSENT_S]
    if any(engine.target == wish.active for engine in engines):
        return []
    if len(expected) == 1:
        return [Step(free[0], "hold", wish.active)] if free else []
    spare = [engine for engine in free if engine.version is None or engine.version != serving]
    if not spare and len(free) > 1:
        # All hold the serving version, as after a start: the last one makes room, the others go on.
        spare = [min(free, key=lambda engine: (not engine.draining, -free.index(engine)))]
    return [_step(min(spare, key=_ease), wish.active)] if spare else []


def _canaries(engines: Sequence[Engine], wish: Wish) -> int:
    """How many engines the canary gets: its part of the answers, where the active version keeps one too.

    A duel is one answer of each: half of its share.
    """
    alive = sum(engine.alive for engine in engines)
    if wish.canary is None or alive < 2:
        return 0
    return max(1, min(alive - 1, round(alive * wish.share / 2)))


def _for_the_canary(engines: Sequence[Engine], held: Sequence[Engine], wish: Wish) -> list[Engine]:
    """Engines that the canary may have, best first; the active version keeps one."""
    actives = [engine for engine in engines if engine.state == "ready" and engine.version == wish.active]
    spare = [engine for engine in held if engine.version == wish.active][: len(actives) - 1]
    return [engine for engine in held if engine.version not in (wish.active, wish.canary)] + spare


def _follow(held: Sequence[Engine], wish: Wish, surplus: int) -> list[Engine]:
    """Engines that take the active version: of old versions, and what the canary has too many."""
    stale = [engine for engine in held if engine.version not in (wish.active, wish.canary)]
    if wish.canary is None and stale:
        # For a rollback. Of several the one that would take longest to drain.
        stale.remove(max(stale, key=lambda one: (one.version == wish.previous, one.version, _ease(one))))
    return stale + [engine for engine in held if engine.version == wish.canary][: max(0, surplus)]


def _step(engine: Engine, version: int) -> Step:
    return Step(engine, "drain" if engine.leases else "load", version)


def _ease(engine: Engine) -> tuple[bool, int, int, str]:
    """Smallest first: it is drained already, has few answers, holds an old version."""
    return not engine.draining, len(engine.leases), engine.version or 0, engine.name
