"""Trust: how much an annotator's votes weigh, by what is known of whether they are right.

Three kinds of checks. Items of the queue with a known verdict; what the others said of the same two answers;
and whether the reward model, which had not seen the vote, would have given it too. The first two are about
right and wrong. The last is about taste as well, so whoever merely differs from most keeps their weight:
only who votes against it more often than a coin would is not believed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from store.statistics.intervals import Z, wilson

Source = Literal["gold", "others", "reward_model"]
ENOUGH = 20
"""Checks of the other annotators, without which nothing is known of what can be expected."""
CROSS_FIT = "cross_fit.json"
"""How far each vote's answer is ahead by the others' votes: beside the gate's report, then in the run."""


class Checked(NamedTuple):
    """How many of n checks were right; of a reward model's predictions, in checks that are equally sure."""

    right: float
    n: float


Checks = Mapping[Source, Checked]


def by_sureness(margins: Collection[float]) -> Checked:
    """How often predictions were right, each counted by how sure it was.

    A vote against a prediction that was hardly one says nothing. The n is that of as many equally sure
    predictions as tell the same: the effective sample size (sum |m|)^2 / sum m^2 (Kish, Survey sampling).

    margins: of each vote, how far its answer was predicted to be ahead; below 0 the other one was.
    """
    sure = sum(abs(margin) for margin in margins)
    if not sure:
        return Checked(0, 0)
    n = sure * sure / sum(margin * margin for margin in margins)
    return Checked(n * sum(margin for margin in margins if margin > 0) / sure, n)


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
    own = checks[name].get("reward_model", Checked(0, 0))
    return contradicts(own, _rest(name, checks, "reward_model"), Z)


def contradicts(own: Checked, rest: Checked, z: float) -> bool:
    """Whether predictions that are surely right about the others are surely wrong more often than right here.

    Were these votes cast by a coin, each prediction would be right or wrong with the same chance, however
    sure it was, and the interval of `z` standard deviations would lie below one half with about the chance of
    that normal tail. Whoever's taste has nothing to do with that of the others votes like a coin here.
    """
    return predicts(rest) and wilson(*own, z)[1] < 0.5


def predicts(rest: Checked) -> bool:
    """Whether predictions are surely right on more than half of somebody's votes."""
    return rest.n >= ENOUGH and wilson(*rest)[0] > 0.5


def _rest(name: str, checks: Mapping[str, Checks], source: Source) -> Checked:
    """The checks of everybody else, together."""
    others = [found.get(source, Checked(0, 0)) for other, found in checks.items() if other != name]
    return Checked(sum(one.right for one in others), sum(one.n for one in others))
