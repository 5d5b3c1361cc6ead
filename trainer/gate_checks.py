"""Checks of the policy's gate: numbers against thresholds, each with its reason in words. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

import torch

from store.records import GateCheck
from store.statistics.intervals import wilson
from trainer.config import GateConfig
from trainer.intervals import bootstrap_mean

NOT_A_NUMBER = 1e9
"""What a report shows for NaN or infinity, on the failing side: JSON has neither."""


def most(name: str, value: float, threshold: float, said: str) -> GateCheck:
    """Passes up to the threshold."""
    value = value if math.isfinite(value) else NOT_A_NUMBER
    reason = f"{value:.3g} {said}, at most {threshold:g}"
    return GateCheck(name=name, value=value, threshold=threshold, passed=value <= threshold, reason=reason)


def least(name: str, value: float, threshold: float, said: str) -> GateCheck:
    """Passes from the threshold on."""
    value = value if math.isfinite(value) else -NOT_A_NUMBER
    reason = f"{value:.3g} {said}, at least {threshold:g}"
    return GateCheck(name=name, value=value, threshold=threshold, passed=value >= threshold, reason=reason)


def reaches(name: str, wins: float, n: int, threshold: float, said: str) -> GateCheck:
    """Refuses a share of n cases only when its whole 95 % interval (Wilson 1927) lies below the threshold.

    So few cases, which prove little, refuse nothing by chance.
    """
    low, high = wilson(wins, n)
    return GateCheck(
        name=name,
        value=wins / n,
        threshold=threshold,
        passed=high >= threshold,
        reason=f"{wins / n:.0%} {said} (n = {n}, 95 % interval {low:.0%} to {high:.0%});"
        f" refused when all of the interval lies below {threshold:.0%}",
        n=n,
        low=low,
        high=high,
    )


def points(candidate: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    """1 where the candidate's score is higher, 1/2 where both are equal, else 0: (N,), (N,) -> (N,)."""
    return (candidate > active).float() + 0.5 * (candidate == active).float()


def win_check(won: torch.Tensor, config: GateConfig) -> GateCheck:
    """Under the reward model that it was trained on: here the candidate has to prove itself.

    So the share itself counts, not the end of its interval.
    """
    wins, n = float(won.sum()), len(won)
    low, high = wilson(wins, n)
    return GateCheck(
        name="win_share",
        value=wins / n,
        threshold=config.min_win_share,
        passed=wins / n >= config.min_win_share,
        reason=f"scores above the active version on {wins:g} of {n} prompts"
        f" (95 % interval {low:.2f} to {high:.2f})",
        n=n,
        low=low,
        high=high,
    )


def held_back_check(won: torch.Tensor, config: GateConfig) -> GateCheck:
    """Under a reward model that learned from other votes: what only fools the first one loses here."""
    return reaches(
        "held_back_win_share",
        float(won.sum()),
        len(won),
        config.min_held_back_win_share,
        "of the prompts won under the held-back reward model, which the training never saw",
    )


def group_check(
    won: torch.Tensor, groups: Mapping[str, Sequence[int]], config: GateConfig
) -> list[GateCheck]:
    """How far the worst group's win share lies below that of all prompts; none with fewer than two groups.

    Its interval is as wide as the number of groups asks (Bonferroni): the worst of several is low by chance.
    """
    large = {name: inside for name, inside in groups.items() if len(inside) >= config.min_group_prompts}
    if len(large) < 2:
        return []
    shares = {name: float(won[list(inside)].mean()) for name, inside in large.items()}
    worst = min(shares, key=lambda name: shares[name])
    n, everybody = len(large[worst]), float(won.mean())
    z = NormalDist().inv_cdf(1 - 0.025 / len(large))
    lowest, highest = wilson(shares[worst] * n, n, z)
    low, high = everybody - highest, everybody - lowest
    all_shares = ", ".join(f"{name} {share:.0%} of {len(large[name])}" for name, share in shares.items())
    return [
        GateCheck(
            name="group_gap",
            value=everybody - shares[worst],
            threshold=config.max_group_gap,
            passed=low <= config.max_group_gap,
            reason=f"prompts won in {worst} are {everybody - shares[worst]:.0%} fewer than in all (95 %"
            f" interval {low:.0%} to {high:.0%}; {all_shares}); refused when all of the interval lies above"
            f" {config.max_group_gap:.0%}",
            n=n,
            low=low,
            high=high,
        )
    ]


def drop_check(
    name: str, new: Sequence[float], old: Sequence[float], threshold: float, said: str
) -> GateCheck:
    """Mean change of shares, case by case against the active version's, with its bootstrap interval."""
    changes = [after - before for after, before in zip(new, old, strict=True)]
    value, (low, high) = fmean(changes), bootstrap_mean(changes)
    if not all(map(math.isfinite, (value, low, high))):
        return least(name, math.nan, -threshold, said)
    return GateCheck(
        name=name,
        value=value,
        threshold=-threshold,
        passed=high >= -threshold,
        reason=f"chance of {said}: {fmean(new):.0%}, the active version's {fmean(old):.0%} (change"
        f" {value:+.0%}, n = {len(changes)}, 95 % interval {low:+.0%} to {high:+.0%}); refused when all of"
        f" the interval lies below {-threshold:.0%}",
        n=len(changes),
        low=low,
        high=high,
    )


def drift_checks(new: Mapping[str, float], old: Mapping[str, float], config: GateConfig) -> list[GateCheck]:
    """How far the candidate moved and whether it collapsed; `new` and `old` are `action_space` of both."""
    length = new["response_length_mean"] / old["response_length_mean"]
    truncated = max(0.0, new["truncated_share"] - old["truncated_share"])
    return [
        most("kl", new["ref_kl"], config.max_kl, "nats per answer away from the reference"),
        most(
            "perplexity", new["ref_perplexity"] / old["ref_perplexity"], config.max_answer_perplexity_ratio,
            "times the surprise of the active version's answers to the reference",
        ),
        most("repeats", new["repeat_share"], config.max_repeat_share, "of an answer's 4-grams said before"),
        most(
            "truncated", truncated, config.max_truncated_share,
            "more answers run into the length limit than before",
        ),
        most("length", length, config.max_length_ratio, "times as long as the active version's answers"),
        least("shortness", length, config.min_length_ratio, "times as long as the active version's answers"),
        least(
            "entropy", new["entropy"] / max(old["entropy"], 1e-6), config.min_entropy_ratio,
            "times the active version's entropy",
        ),
    ]  # fmt: skip


def skill_check(candidate: float, active: float, config: GateConfig) -> GateCheck:
    """Perplexities on plain text that nobody trained on."""
    said = "times the active version's perplexity on plain text"
    return most("language_skill", candidate / active, config.max_perplexity_ratio, said)


def finite_check(damaged: str | None) -> GateCheck:
    """`damaged` names a weight that is not finite."""
    reason = f"{damaged} holds NaN or infinity" if damaged else "every weight is a number"
    passed = damaged is None
    return GateCheck(name="finite_weights", value=float(passed), threshold=1.0, passed=passed, reason=reason)
