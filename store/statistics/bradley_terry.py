"""Bradley-Terry ratings of versions: a logistic model of who beats whom, a tie half a win for each.

As FastChat's `rating_systems.py` defines them (scale 400 / log 10), with the first version at 1000.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from store.records import Record
from store.statistics.judged import JudgedDuel, Style

ANCHOR = 1000.0
SCALE = 400 / math.log(10)
ROUNDS = 200
# Keeps a resample in which somebody won everything finite; moves a rating of ten duels by less than 1e-3.
RIDGE = 1e-6
LONGEST_STEP = 2.0

Floats = NDArray[np.float64]


class Rating(Record):
    """One version on the board. `rating` is None while no chain of wins and losses ties it to the first."""

    number: int
    rating: float | None
    low: float | None
    high: float | None
    n: int
    """Duels that were won, lost or tied."""
    best_rank: int | None = None
    worst_rank: int | None = None
    """Both ends of the rank that the intervals allow."""


class StyleEffect(Record):
    """What one standard deviation more of this, in difference to the other answer, is worth in rating."""

    element: str
    effect: float
    low: float
    high: float


class Board(Record):
    ratings: tuple[Rating, ...]
    """Best first, then those without a rating."""
    style: tuple[StyleEffect, ...] = ()
    """With style control only: what is taken out of the ratings."""


def board(duels: Sequence[JudgedDuel], *, style: bool = False, rounds: int = ROUNDS, seed: int = 0) -> Board:
    """Ratings with 95 % bootstrap intervals. `style`: as if answers were equally long and equally marked up.

    A version that won, or lost, every duel has no finite rating: it is listed without one.
    """
    met = [duel for duel in duels if duel.version_a != duel.version_b and duel.points is not None]
    n = Counter(version for duel in met for version in (duel.version_a, duel.version_b))
    if not n:
        return Board(ratings=())
    anchor = min(n)
    rated = _comparable(met, anchor)
    if style:
        met = [duel for duel in met if duel.style_a is not None and duel.style_b is not None]
        rated &= _comparable(met, anchor)
    kept = [duel for duel in met if duel.version_a in rated and duel.version_b in rated]
    versions = sorted(rated - {anchor})
    design, points, counts = _rows(kept, versions, style)
    fitted = _fit(design, points, counts, np.zeros(design.shape[1]))
    drawn = _resampled(design, points, counts, fitted, rounds, seed) if kept else fitted[None]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0) * SCALE
    found = {anchor: (ANCHOR, ANCHOR, ANCHOR)} | {
        version: (ANCHOR + fitted[i] * SCALE, ANCHOR + low[i], ANCHOR + high[i])
        for i, version in enumerate(versions)
    }
    effects = [
        StyleEffect(element=name, effect=fitted[i] * SCALE, low=low[i], high=high[i])
        for i, name in enumerate(Style._fields if style else (), start=len(versions))
    ]
    return Board(ratings=_ranked(n, found), style=tuple(effects))


def _ranked(n: Counter[int], found: dict[int, tuple[float, float, float]]) -> tuple[Rating, ...]:
    ratings = []
    for number in sorted(n, key=lambda one: (-found[one][0] if one in found else math.inf, one)):
        if number not in found:
            ratings.append(Rating(number=number, rating=None, low=None, high=None, n=n[number]))
            continue
        rating, low, high = found[number]
        surely_better = sum(other[1] > high for other in found.values())
        surely_worse = sum(other[2] < low for other in found.values())
        ratings.append(
            Rating(
                number=number,
                rating=rating,
                low=low,
                high=high,
                n=n[number],
                best_rank=1 + surely_better,
                worst_rank=len(found) - surely_worse,
            )
        )
    return tuple(ratings)


def _comparable(duels: Sequence[JudgedDuel], anchor: int) -> set[int]:
    """The versions with a finite rating beside the anchor's.

    Those that a chain of wins or ties leads to, from the anchor and back to it (Ford 1957).
    """
    beats: dict[int, set[int]] = defaultdict(set)
    beaten_by: dict[int, set[int]] = defaultdict(set)
    for duel in duels:
        if duel.choice in ("a", "tie"):
            beats[duel.version_a].add(duel.version_b)
            beaten_by[duel.version_b].add(duel.version_a)
        if duel.choice in ("b", "tie"):
            beats[duel.version_b].add(duel.version_a)
            beaten_by[duel.version_a].add(duel.version_b)
    return _reached(beats, anchor) & _reached(beaten_by, anchor)


def _reached(edges: dict[int, set[int]], start: int) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        new = edges[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def _rows(
    duels: Sequence[JudgedDuel], versions: list[int], style: bool
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Design (R, K), points of side a (R,), how often the row occurred (R,).

    Without style equal duels share a row: the fit costs the same for a hundred votes and for a million.
    """
    column = {version: i for i, version in enumerate(versions)}
    same = Counter(
        (duel.version_a, duel.version_b, duel.points, i if style else 0) for i, duel in enumerate(duels)
    )
    design = np.zeros((len(same), len(versions)))
    for row, (a, b, _, _) in enumerate(same):
        if a in column:
            design[row, column[a]] = 1.0
        if b in column:
            design[row, column[b]] = -1.0
    if style:
        design = np.hstack([design, _style_differences(duels)])
    points = np.array([points for _, _, points, _ in same], dtype=np.float64)
    return design, points, np.array(list(same.values()), dtype=np.int64)


def _style_differences(duels: Sequence[JudgedDuel]) -> Floats:
    """(R, 4): difference over sum, a minus b, each element brought to mean 0 and deviation 1."""
    a = np.array([duel.style_a for duel in duels], dtype=np.float64).reshape(len(duels), len(Style._fields))
    b = np.array([duel.style_b for duel in duels], dtype=np.float64).reshape(len(duels), len(Style._fields))
    ratio = (a - b) / (a + b + 1)
    spread = ratio.std(axis=0)
    return np.asarray((ratio - ratio.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _fit(design: Floats, points: Floats, counts: NDArray[np.int64], start: Floats) -> Floats:
    """Log-odds of each column at the likelihood's maximum, by Newton's steps."""
    theta = start
    identity = np.eye(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ theta)))
        gradient = design.T @ (counts * (points - p)) - RIDGE * theta
        hessian = (design * (counts * p * (1 - p))[:, None]).T @ design + RIDGE * identity
        step = np.linalg.solve(hessian, gradient)
        longest = float(np.abs(step).max(initial=0.0))
        theta = theta + step * min(1.0, LONGEST_STEP / max(longest, 1e-300))
        if longest < 1e-9:
            break
    return theta


def _resampled(
    design: Floats, points: Floats, counts: NDArray[np.int64], start: Floats, rounds: int, seed: int
) -> Floats:
    """(rounds, K): the fit of as many duels, drawn with replacement."""
    total = int(counts.sum())
    random = np.random.default_rng(seed)
    return np.array(
        [_fit(design, points, random.multinomial(total, counts / total), start) for _ in range(rounds)]
    )
