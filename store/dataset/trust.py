"""Trust: how much an annotator's votes weigh, by what is known of whether they are right.

Three kinds of checks. Items of the queue with a known verdict; what the others said of the same two answers;
and whether the reward model, which had not seen the vote, would have given it too. The first two are about
right and wrong. The last is about taste as well, so whoever merely differs from most keeps their weight:
what counts is how probable it is that somebody votes against it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from store.statistics.intervals import wilson

Source = Literal["gold", "others", "reward_model"]
ENOUGH = 20
"""Checks of the other annotators, without which nothing is known of what can be expected."""
LIKE_THE_OTHERS, ANOTHER_TASTE, AGAINST = 0.5, 0.3, 0.2
"""How probable each is held to be of somebody before anything is known. Fewer vote against the others in
truth; but to believe one of these costs a data set far more than to doubt one of the others for a while."""
STEPS = 50
LEAST = 0.05
"""A smaller weight is none."""
CROSS_FIT = "cross_fit.json"
"""In a run's folder: how far each vote's answer is ahead by the votes of everybody else."""


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
    """How much this annotator's votes weigh beside everybody else's: 0, or from `LEAST` to 1.

    A vote that is right with probability p tells (2 p - 1) of what a certain one tells: so much survives of
    a loss's gradient under symmetric label noise (Natarajan et al. 2013, section 3). The weight is that of
    the annotator over that of the others, with the upper end of the annotator's 95 % interval for p: nobody
    loses weight by bad luck in a few checks. It is multiplied by the probability that they do not vote
    against what reward models predict.
    """
    right = n = expected = 0.0
    for source in ("gold", "others"):
        own, rest = checks[name].get(source, Checked(0, 0)), _rest(name, checks, source)
        if own.n and rest.n >= ENOUGH:
            right, n, expected = right + own.right, n + own.n, expected + own.n * rest.right / rest.n
    of_verdicts = 1.0
    if n and expected / n > 0.5:
        _, high = wilson(right, n)
        of_verdicts = min(1.0, max(0.0, (2 * high - 1) / (2 * expected / n - 1)))
    own = checks[name].get("reward_model", Checked(0, 0))
    found = of_verdicts * not_against(own, _rest(name, checks, "reward_model"))
    return found if found >= LEAST else 0.0


def not_against(own: Checked, rest: Checked) -> float:
    """Probability that somebody does not vote against predictions that are surely right about the others.

    Of votes with the reliability r a share of 1/2 + r (q - 1/2) is predicted rightly, where it is q of the
    others': r is 1 for votes like theirs, 0 for a coin's or a taste that has nothing to do with theirs, -1
    for the opposite. Beforehand r is 1 with the probability `LIKE_THE_OTHERS`, somewhere from 0 to 1 with
    `ANOTHER_TASTE`, and somewhere from -1 to 0 with `AGAINST`; the checks of one's own say the rest (Bayes).
    """
    if not own.n or not predicts(rest):
        return 1.0
    lean = min(rest.right / rest.n, 0.99) - 0.5  # nobody is right for certain
    shares = [0.5 + (step + 0.5) / STEPS * lean for step in range(-STEPS, STEPS)] + [0.5 + lean]
    logs = [own.right * math.log(p) + (own.n - own.right) * math.log(1 - p) for p in shares]
    tells = [math.exp(one - max(logs)) for one in logs]
    against, differs = sum(tells[:STEPS]) / STEPS, sum(tells[STEPS:-1]) / STEPS
    good = LIKE_THE_OTHERS * tells[-1] + ANOTHER_TASTE * differs
    return good / (good + AGAINST * against)


def predicts(rest: Checked) -> bool:
    """Whether predictions are surely right on more than half of somebody's votes."""
    return rest.n >= ENOUGH and wilson(*rest)[0] > 0.5


def _rest(name: str, checks: Mapping[str, Checks], source: Source) -> Checked:
    """The checks of everybody else, together."""
    others = [found.get(source, Checked(0, 0)) for other, found in checks.items() if other != name]
    return Checked(sum(one.right for one in others), sum(one.n for one in others))
