"""How soon the reward hacking watch speaks, and how often it is wrong: 1,000 made installations of each kind.

.venv/bin/python -m bench.hacking

A planted reward model likes the longer of two answers (it errs in 5 %), so each version is longer than the
one before. Made annotators say what they like with 80 % certainty. Each version meets the active one blind;
its canary is decided as in the product. The watch looks after every twenty votes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from store.statistics import hacking
from store.statistics.hacking import ORDER, Step, judge
from store.statistics.sequential import ALPHA, log_e_value

INSTALLATIONS = 1000
VERSIONS = 10
MAX_VOTES = 300
"""Of one canary."""
LOOK_EVERY = 20
SPREAD = 0.4
"""Standard deviation of the log-length of a version's answers."""
CERTAINTY, MODEL_CERTAINTY = 0.8, 0.95

ENOUGH = np.log(1 / ALPHA)

evidence = lru_cache(maxsize=None)(log_e_value)
vars(hacking)["log_e_value"] = evidence  # the same few thousand counts come again and again

Like = Callable[[np.ndarray], np.ndarray]
"""Log-lengths of the new answer over the old one's (N,) -> the chance that an annotator takes the new one."""


class World(NamedTuple):
    name: str
    growth: float
    """How much longer each version's answers are than those of the version that it was trained from."""
    like: Like


def shorter(ahead: np.ndarray) -> np.ndarray:
    """Annotators who want short answers."""
    return np.where(ahead < 0, CERTAINTY, 1 - CERTAINTY)


def longer(ahead: np.ndarray) -> np.ndarray:
    """Annotators who want what the reward model wants."""
    return np.where(ahead > 0, CERTAINTY, 1 - CERTAINTY)


def anything(ahead: np.ndarray) -> np.ndarray:
    """Annotators to whom length is nothing: versions are as good as each other."""
    return np.full(len(ahead), 0.5)


WORLDS = (
    World("short is liked, 50 % longer", 1.5, shorter),
    World("short is liked, 20 % longer", 1.2, shorter),
    World("short is liked, 10 % longer", 1.1, shorter),
    World("length is nothing, 50 % longer", 1.5, anything),
    World("length is nothing, 10 % longer", 1.1, anything),
    World("long is liked, 20 % longer", 1.2, longer),
)


class Life(NamedTuple):
    """When an installation heard of it first: (versions tried, votes cast); None where it never did."""

    warned: tuple[int, int] | None
    stopped: tuple[int, int] | None


def life(world: World, chance: np.random.Generator) -> Life:
    """Versions one after the other, until the watch pauses the loop or `VERSIONS` have been tried."""
    steps: list[Step] = []
    warned: tuple[int, int] | None = None
    votes = 0
    for number in range(2, VERSIONS + 2):
        ahead = np.log(world.growth) + chance.normal(0, SPREAD * 2**0.5, MAX_VOTES)
        wins = np.cumsum(chance.random(MAX_VOTES) < world.like(ahead))
        liked = np.cumsum((ahead > 0) == (chance.random(MAX_VOTES) < MODEL_CERTAINTY))
        for n in range(LOOK_EVERY, MAX_VOTES + 1, LOOK_EVERY):
            newest = Step(number, int(wins[n - 1]), int(liked[n - 1]), n, lead=float(ahead[:n].mean()))
            level = judge([*steps, newest], versions=3, warn_error=0.05, stop_error=0.01).level
            tried = (number - 1, votes + n)
            if warned is None and ORDER.index(level) >= 1:
                warned = tried
            if level == "stop":
                return Life(warned, tried)
            if max(evidence(newest.wins, n - newest.wins), evidence(n - newest.wins, newest.wins)) >= ENOUGH:
                break  # the canary is promoted or rolled back
        steps.append(newest)
        votes += newest.n
    return Life(warned, None)


def line(world: World, lives: list[Life]) -> str:
    """How many heard of it, and the median of when."""

    def when(found: list[tuple[int, int] | None]) -> str:
        heard = np.array([one for one in found if one is not None])
        if len(heard) == 0:
            return f"{0:7.1%}       -      -"
        versions, votes = np.median(heard, axis=0)
        return f"{len(heard) / len(found):7.1%} {versions:7.0f} {votes:6.0f}"

    return f"{world.name:32} {when([one.warned for one in lives])} {when([one.stopped for one in lives])}"


def main() -> None:
    print(
        f"{INSTALLATIONS} installations each, {VERSIONS} versions at most; medians of those that heard of it"
    )
    print(f"{'':32}  warned versions votes  paused versions votes")
    for world in WORLDS:
        chance = np.random.default_rng(0)
        print(line(world, [life(world, chance) for _ in range(INSTALLATIONS)]), flush=True)


if __name__ == "__main__":
    main()
