"""How often the canary's test is wrong, and how many votes it needs: 1,000 canaries at each true win rate.

.venv/bin/python -m bench.canary
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.statistics.sequential import ALPHA, MAX_VOTES, log_e_value

CANARIES = 1000


class Outcomes(NamedTuple):
    promoted: float
    rolled_back: float
    undecided: float
    median_votes: float
    """Decisive votes until a verdict, of those with one; NaN without any."""


def enough_wins(votes: int = MAX_VOTES) -> NDArray[np.int64]:
    """(votes,): the fewest wins of n = 1, 2, ... decisive votes that end the test; n + 1 where none do."""
    fewest = []
    wins = 0
    for n in range(1, votes + 1):
        # One more vote never lowers the bar, and raises it by one win at most.
        while wins <= n and log_e_value(wins, n - wins) < math.log(1 / ALPHA):
            wins += 1
        fewest.append(wins)
    return np.array(fewest)


def outcomes(rate: float, bar: NDArray[np.int64], *, canaries: int = CANARIES, seed: int = 0) -> Outcomes:
    """What becomes of canaries that truly win this share of the decisive votes, looked at after each vote."""
    won = np.random.default_rng(seed).random((canaries, len(bar))) < rate
    wins = np.cumsum(won, axis=1)
    n = np.arange(1, len(bar) + 1)
    up, down = wins >= bar, n - wins >= bar
    first_up, first_down = (_first(crossed) for crossed in (up, down))
    end = np.minimum(first_up, first_down)
    promoted = first_up < first_down
    decided = end < len(bar)
    return Outcomes(
        promoted=float(promoted.mean()),
        rolled_back=float((decided & ~promoted).mean()),
        undecided=float((~decided).mean()),
        median_votes=float(np.median(end[decided] + 1)) if decided.any() else math.nan,
    )


def _first(crossed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,): the first True of each row; the row's length where there is none."""
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), crossed.shape[1])


def main() -> None:
    bar = enough_wins()
    print(f"{CANARIES} canaries each, looked at after every decisive vote, at most {MAX_VOTES} votes")
    print("true rate  promoted  rolled back  undecided  median votes to the verdict")
    for rate in (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65):
        found = outcomes(rate, bar)
        print(
            f"{rate:9.0%}  {found.promoted:8.1%}  {found.rolled_back:11.1%}"
            f"  {found.undecided:9.1%}  {found.median_votes:8.0f}"
        )


if __name__ == "__main__":
    main()
