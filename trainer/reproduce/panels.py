"""Panels: what a finding's picture shows of a run, by update."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainer.reproduce.group_checks import EASY, HARD, gap
from trainer.reproduce.run import Run

Panel = Callable[[Run], list[float]]
SMOOTHED = 8
"""Updates in a mean: of one update's 64 answers only some twenty are about the hard topic."""


def number(key: str) -> Panel:
    """One of the run's numbers."""
    return lambda run: [numbers[key] for numbers in run.curve]


def topic_gap(run: Run) -> list[float]:
    """How far the easy topics' proxy is above the hard one's, a mean of the last updates."""
    gaps = [gap(numbers, EASY, HARD) for numbers in run.curve]
    last = [gaps[max(0, at + 1 - SMOOTHED) : at + 1] for at in range(len(gaps))]
    return [sum(some) / len(some) for some in last]


COMMON: Mapping[str, Panel] = {
    "proxy reward": number("proxy"),
    "gold judge": number("gold"),
    "length (tokens)": number("response_length_mean"),
    "KL (nats per answer)": number("ref_kl"),
}
WITH_GAP: Mapping[str, Panel] = {
    f"gap between the topics (mean of {SMOOTHED})": topic_gap,
    **COMMON,
}
