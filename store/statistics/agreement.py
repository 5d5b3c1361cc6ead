"""Agreement: whether people who judge the same duel say the same, and whether one says it twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from store.records import Record
from store.statistics.intervals import Share, share_of

RESAMPLES = 500


class Judgement(NamedTuple):
    """What one annotator said of one pair of answers; `label` names the text or the outcome, no side."""

    unit: Hashable
    annotator: str
    label: str


class Alpha(Record):
    """Krippendorff's alpha: 1 is full agreement, 0 what chance gives. `n` units were judged twice or more."""

    alpha: float | None
    low: float | None
    high: float | None
    n: int


class Kappa(Record):
    """Cohen's kappa of two annotators on the `n` units that both judged."""

    annotators: tuple[str, str]
    kappa: float | None
    n: int


def krippendorff_alpha(judgements: Iterable[Judgement], seed: int = 0) -> Alpha:
    """Nominal alpha, bootstrapped over units (Krippendorff 2011). Each annotator's first word counts."""
    units = [list(said.values()) for said in _first_words(judgements).values() if len(said) > 1]
    labels = {label: i for i, label in enumerate(sorted({label for said in units for label in said}))}
    if not units:
        return Alpha(alpha=None, low=None, high=None, n=0)
    counts = np.zeros((len(units), len(labels)))
    for row, said in enumerate(units):
        for label in said:
            counts[row, labels[label]] += 1
    raters = counts.sum(axis=1)
    # How many values each unit has, and how much of them disagrees: sums that a bootstrap can weigh.
    disagreement = (raters**2 - (counts**2).sum(axis=1)) / (raters - 1)
    once = np.ones((1, len(units)))
    point = _alpha(once, counts, disagreement)[0]
    drawn = np.random.default_rng(seed).multinomial(
        len(units), np.full(len(units), 1 / len(units)), size=RESAMPLES
    )
    spread = _alpha(drawn.astype(np.float64), counts, disagreement)
    spread = spread[np.isfinite(spread)]
    if not np.isfinite(point) or not len(spread):
        return Alpha(alpha=None, low=None, high=None, n=len(units))
    low, high = np.quantile(spread, (0.025, 0.975))
    return Alpha(alpha=float(point), low=float(low), high=float(high), n=len(units))


def _alpha(weights: np.ndarray, counts: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """(B,): alpha under each row of unit weights (B, U); NaN where only one label was ever used."""
    totals = weights @ counts
    n = totals.sum(axis=1)
    observed = (weights @ disagreement) / n
    expected = (n**2 - (totals**2).sum(axis=1)) / (n * (n - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(expected > 0, 1 - observed / expected, np.nan))


def cohen_kappas(judgements: Iterable[Judgement]) -> list[Kappa]:
    """Kappa of every two annotators who judged a unit in common, by name."""
    shared: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in _first_words(judgements).values():
        for one, other in combinations(sorted(said), 2):
            shared[one, other].append((said[one], said[other]))
    return [
        Kappa(annotators=names, kappa=_kappa(labels), n=len(labels))
        for names, labels in sorted(shared.items())
    ]


def _kappa(labels: Sequence[tuple[str, str]]) -> float | None:
    n = len(labels)
    observed = sum(one == other for one, other in labels) / n
    first, second = (Counter(pair[side] for pair in labels) for side in (0, 1))
    expected = sum(first[label] * second[label] for label in first) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def self_agreement(judgements: Iterable[Judgement]) -> dict[str, Share]:
    """For each annotator who judged units again: how often they said the same as the first time."""
    said: dict[tuple[str, Hashable], list[str]] = defaultdict(list)
    for judgement in judgements:
        said[judgement.annotator, judgement.unit].append(judgement.label)
    same: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for (annotator, _), labels in said.items():
        again[annotator] += len(labels) - 1
        same[annotator] += sum(label == labels[0] for label in labels[1:])
    return {annotator: share_of(same[annotator], n) for annotator, n in sorted(again.items()) if n}


def gold_accuracy(judgements: Iterable[Judgement], gold: Mapping[Hashable, str]) -> dict[str, Share]:
    """For each annotator: how often they gave the answer that is known to be right."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for judgement in judgements:
        if judgement.unit in gold:
            asked[judgement.annotator] += 1
            right[judgement.annotator] += judgement.label == gold[judgement.unit]
    return {annotator: share_of(right[annotator], n) for annotator, n in sorted(asked.items())}


def _first_words(judgements: Iterable[Judgement]) -> dict[Hashable, dict[str, str]]:
    """Unit -> annotator -> the first label given; a repeated judgement says nothing about agreement."""
    said: dict[Hashable, dict[str, str]] = defaultdict(dict)
    for judgement in judgements:
        said[judgement.unit].setdefault(judgement.annotator, judgement.label)
    return said
