"""Is the canary better? A test that may be looked at after every vote.

Looking again and again at an ordinary test finds a difference sooner or later where there is none. An e-value
does not: under "the canary wins at most half of the decisive votes" it reaches 1 / alpha with a probability
of at most alpha, however often and whenever somebody looks (Ville's inequality; Ramdas et al. 2023).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from store.records import Record

ALPHA = 0.05
MAX_VOTES = 1000
# The alternatives that are bet on, and how much on each: win rates above a half, most on 55 to 65 %. Each bet
# alone is a fair game under the hypothesis, so any mixture is.
_RATES = np.linspace(0.5, 1.0, 101)[1:-1]
_PRIOR = (_RATES * (1 - _RATES)) ** 15
_LOG_PRIOR = np.log(_PRIOR / _PRIOR.sum())
_LOG_WIN, _LOG_LOSS = np.log(2 * _RATES), np.log(2 * (1 - _RATES))


class CanaryVerdict(Record):
    """What the blind duels between canary and active version say so far."""

    state: Literal["undecided", "better", "worse", "stopped"]
    """`stopped`: as many votes as were allowed, and no difference was found."""
    e_value: float
    """Evidence for the likelier side; the test ends at 1 / alpha, which is 20."""
    wins: int
    losses: int
    n: int
    """Decisive votes; ties and both-bad say nothing about who is better."""
    needs: int | None
    """About as many more decisive votes at the rate seen so far; None when it has ended."""


def canary_verdict(
    wins: int, losses: int, *, alpha: float = ALPHA, max_votes: int = MAX_VOTES
) -> CanaryVerdict:
    """The verdict on `wins` and `losses` of the canary against the active version."""
    n = wins + losses
    for_better, for_worse = log_e_value(wins, losses), log_e_value(losses, wins)
    log_e, enough = max(for_better, for_worse), math.log(1 / alpha)
    state: Literal["undecided", "better", "worse", "stopped"] = "undecided"
    if log_e >= enough:
        state = "better" if for_better > for_worse else "worse"
    elif n >= max_votes:
        state = "stopped"
    return CanaryVerdict(
        state=state,
        e_value=math.exp(min(log_e, 700.0)),
        wins=wins,
        losses=losses,
        n=n,
        needs=_needs(wins, losses, enough, max_votes) if state == "undecided" else None,
    )


def log_e_value(wins: float, losses: float) -> float:
    """log of the evidence that the true win rate is above a half: a beta-binomial mixture on a grid."""
    logs = _LOG_PRIOR + wins * _LOG_WIN + losses * _LOG_LOSS
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum()))


def _needs(wins: int, losses: int, enough: float, max_votes: int) -> int:
    """Votes until the evidence is enough if they go on as they went; at most what is left."""
    n, left = wins + losses, max_votes - wins - losses
    ahead, behind = max(wins, losses), min(wins, losses)
    share = ahead / n if n else 0.5
    for more in range(1, left):
        if log_e_value(ahead + share * more, behind + (1 - share) * more) >= enough:
            return more
    return left
