"""Trust: how much an annotator's votes weigh, by what is known of whether they are right.

Three kinds of checks. Items of the queue with a known verdict; what the others said of the same two answers;
and whether the reward model, which had not seen the vote, would have given it too. The first two are about
right and wrong. The last is about taste as well, so whoever merely differs from most keeps their weight:
only who votes against it more often than a coin would is not believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from store.statistics.intervals import wilson

Source = Literal["gold", "others", "reward_model"]
ENOUGH = 20
"""Checks of the other annotators, without which nothing is known of what can be expected."""


class Checked(NamedTuple):
    right: int
    n: int


Checks = Mapping[Source, Checked]


def weights(checks: Mapping[str, Checks]) -> dict[str, float]:
    """Annotator -> the weight of their votes, 1 unless the checks say otherwise."""
    return {name: weight(name, checks) for name in checks}


def weight(name: str, checks: Mapping[str, Checks]) -> float:
    """How much this annotator's votes weigh beside everybody else's.

    A vote that is right with probability p tells (2 p - 1) of what a certain one tells: so much survives of
    a loss's gradient under symmetric label noise (Natarajan et al. 2013, section 3). The weight is that of
    the annotator over that of the others, with the upper end of the annotator's 95 % interval for p: nobody
    loses weight by bad luck in a few checks.
    """
    if _votes_against_the_reward_model(name, checks):
        return 0.0
    right = n = expected = 0.0
    for source in ("gold", "others"):
        own, rest = checks[name].get(source, Checked(0, 0)), _rest(name, checks, source)
        if own.n and rest.n >= ENOUGH:
            right, n, expected = right + own.right, n + own.n, expected + own.n * rest.right / rest.n
    if not n or expected / n <= 0.5:
        return 1.0
    _, high = wilson(right, n)
    return min(1.0, max(0.0, (2 * high - 1) / (2 * expected / n - 1)))


def _votes_against_the_reward_model(name: str, checks: Mapping[str, Checks]) -> bool:
    """Surely right on less than half, where it is surely right on more than half of the others' votes."""
    own, rest = checks[name].get("reward_model", Checked(0, 0)), _rest(name, checks, "reward_model")
    return rest.n >= ENOUGH and wilson(*rest)[0] > 0.5 and wilson(*own)[1] < 0.5


def _rest(name: str, checks: Mapping[str, Checks], source: Source) -> Checked:
    """The checks of everybody else, together."""
    others = [found.get(source, Checked(0, 0)) for other, found in checks.items() if other != name]
    return Checked(sum(one.right for one in others), sum(one.n for one in others))
