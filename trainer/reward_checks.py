"""Checks of the reward model's gate, from its report and from its choices. Pure functions.

Of what has an interval the whole of it must be wrong before a check refuses: a few held-out pairs, which is
what the first runs have, say little, and chance must not throw votes away. What a weak reward model then does
to the policy, the policy's own gate and the canary still see.
"""

from __future__ import annotations

from torch import Tensor

from store.records import GateCheck, Record
from store.statistics.intervals import wilson
from trainer.config import RewardGateConfig
from trainer.gate_checks import reaches
from trainer.pair_report import PairReport, Share


class Choices(Record):
    """What a reward model chose among several answers to each of n prompts."""

    n: int
    better: float
    """Prompts on which the judge scores the choice above the mean answer, equal ones half."""
    longest: float
    """Prompts on which it chose the longest answer; of k equally long ones each counts 1/k."""
    judges_longest: float
    """The same of the judge's own choices."""


def choices(scores: Tensor, judged: Tensor, lengths: Tensor) -> Choices:
    """All (P, N): scores of N answers to each of P prompts, the judge's scores, the answers' tokens."""
    best = scores.argmax(1, keepdim=True)
    ahead = judged.gather(1, best)[:, 0] - judged.mean(1)
    return Choices(
        n=len(scores),
        better=float((ahead > 0).float().sum() + 0.5 * (ahead == 0).float().sum()),
        longest=_longest(best, lengths),
        judges_longest=_longest(judged.argmax(1, keepdim=True), lengths),
    )


def _longest(chosen: Tensor, lengths: Tensor) -> float:
    longest = lengths == lengths.max(1, keepdim=True).values
    return float((longest.gather(1, chosen)[:, 0] / longest.sum(1)).sum())


def report_checks(held_out: PairReport, agreement: Share | None, config: RewardGateConfig) -> list[GateCheck]:
    """What the held-out pairs say; without a previous reward model there is nothing to agree with."""
    checks = [
        reaches(
            "accuracy", held_out.accuracy * held_out.pairs, held_out.pairs, config.min_accuracy,
            "of held-out pairs ranked as the votes say",
        ),
        calibration_check(held_out, config.max_calibration_error),
        length_check(held_out, config.max_length_bias),
    ]  # fmt: skip
    if agreement is not None:
        checks.append(
            reaches(
                "agreement", agreement.share * agreement.n, agreement.n, config.min_agreement,
                "of held-out pairs ranked as the reward model before it does",
            )
        )  # fmt: skip
    return checks


def calibration_check(held_out: PairReport, threshold: float) -> GateCheck:
    """How much surer than right it is, bin by bin, beyond the upper end of the accuracy's interval.

    Less sure than right is no fault: every reward model of a few votes is, and PPO scales the scores. And the
    plain error (ECE) grows as pairs get fewer: five pairs of a perfect model have one of 0.3.
    """
    beyond, stated = 0.0, 0.0
    for part in held_out.calibration.bins:
        _, high = wilson(part.accuracy * part.n, part.n)
        beyond += part.n / held_out.pairs * max(0.0, part.confidence - high)
        stated += part.n / held_out.pairs * part.confidence
    return GateCheck(
        name="calibration",
        value=beyond,
        threshold=threshold,
        passed=beyond <= threshold,
        reason=f"surer than right by {beyond:.3f} beyond chance (calibration error in all"
        f" {held_out.calibration.ece:.3f}): sure of {stated:.0%} of {held_out.pairs} held-out pairs and right"
        f" on {held_out.accuracy:.0%}; at most {threshold:g}",
        n=held_out.pairs,
    )


def length_check(held_out: PairReport, threshold: float) -> GateCheck:
    """How often it expects the longer answer to be preferred, against how often people prefer it.

    A slope of score on length alone is no fault: people may well like shorter answers, and then it is right.
    Nor is an expectation between theirs and one half, where every model is that is not sure yet.
    """
    observed, n = held_out.longer_preferred_share, held_out.pairs
    low, high = wilson(observed * n, n)
    expected = held_out.longer_expected_share
    beyond = max(0.0, expected - max(high, 0.5), min(low, 0.5) - expected)
    slope = held_out.length_slope
    said = "no slope: all pairs of equal lengths" if slope is None else f"{slope:+.2f} score per 100 tokens"
    return GateCheck(
        name="length_slope",
        value=expected - observed,
        threshold=threshold,
        passed=beyond <= threshold,
        reason=f"expects the longer answer to be preferred in {expected:.0%} of {n} held-out pairs, people do"
        f" in {observed:.0%} (95 % interval {low:.0%} to {high:.0%}; {said}); refused when it is more than"
        f" {threshold:.0%} away from all between that interval and one half",
        n=n,
        low=expected - high,
        high=expected - low,
    )


def choice_checks(found: Choices, config: RewardGateConfig) -> list[GateCheck]:
    """Whether its favourites are good ones to another judge, and not simply the longest."""
    low, high = wilson(found.longest, found.n)
    judges = found.judges_longest / found.n
    threshold = min(1.0, judges + config.max_longest_excess)
    return [
        reaches(
            "best_of_n", found.better, found.n, config.min_best_of_share,
            f"of prompts whose best of {config.best_of} answers is better than the mean one to the held-back"
            " reward model",
        ),
        GateCheck(
            name="longest_of_n",
            value=found.longest / found.n,
            threshold=threshold,
            passed=low <= threshold,
            reason=f"chooses the longest of {config.best_of} answers on {found.longest / found.n:.0%} of"
            f" {found.n} prompts (95 % interval {low:.0%} to {high:.0%}), the held-back reward model on"
            f" {judges:.0%}; refused when all of the interval lies above {threshold:.0%}",
            n=found.n,
            low=low,
            high=high,
        ),
    ]  # fmt: skip
