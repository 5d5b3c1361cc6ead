"""Pair report: how well scores rank pairs that a reward model has not learned from. Pure functions.

Everywhere `ahead` is (N,): score of the preferred answer minus that of the other; an equal score counts half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from store.statistics.intervals import wilson
from trainer.models import RewardModel
from trainer.pairs import TokenPair
from trainer.ranking import answers, score_sequences

UNTAGGED = "untagged"
LENGTH_EDGES = (-64, -8, 8, 64)
"""Tokens by which the preferred answer is longer, between the buckets."""
CONFIDENCE_BINS = 5
MARGIN_BINS = 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Share(_Part):
    """A share of n cases with its 95 % Wilson interval."""

    share: float
    low: float
    high: float
    n: int


class Histogram(_Part):
    """Counts between edges; one edge more than counts."""

    edges: list[float]
    counts: list[int]


class ReliabilityBin(_Part):
    """Pairs of which the model was about equally sure."""

    confidence: float
    """Mean probability that the model gave to the answer that it ranks higher."""
    accuracy: float
    """Share of these pairs in which that answer is the preferred one."""
    n: int


class Calibration(_Part):
    """Whether sigmoid(score difference) is the probability of being right."""

    ece: float
    """Expected calibration error: mean |accuracy - confidence| over the pairs (arXiv 1706.04599, eq. 3)."""
    bins: list[ReliabilityBin]
    """The reliability curve: confidence from 0.5 to 1 in equal bins, empty ones left out."""


class PairReport(_Part):
    """How a reward model ranks a set of pairs."""

    pairs: int
    accuracy: float
    """Share of pairs whose preferred answer scores higher."""
    accuracy_low: float
    accuracy_high: float
    """95 % Wilson interval."""
    margin: float
    """Mean score of the preferred answers minus that of the others."""
    loss: float
    """Mean of -log sigmoid(margin)."""
    length_correlation: float | None
    """Pearson correlation of score and answer length in tokens; None when either does not vary."""
    length_slope: float | None
    """Score per 100 tokens inside a pair; None when all pairs are of equal lengths."""
    longer_preferred_share: float
    """Share of pairs whose preferred answer is the longer one: what length alone would predict."""
    longer_expected_share: float
    """The same as the model expects it: mean probability that it gives to the longer answer of a pair."""
    by_tag: dict[str, Share]
    """Accuracy of each domain that the pairs name."""
    by_length: dict[str, Share]
    """Accuracy by how many tokens the preferred answer is longer, upper edge included; no empty buckets."""
    margins: Histogram
    calibration: Calibration


def judge_pairs(
    model: RewardModel, pairs: Sequence[TokenPair], pad_token_id: int, micro_batch_tokens: int
) -> PairReport:
    """How the model ranks pairs that are decided."""
    return pair_report(pairs, score_sequences(model, answers(pairs), pad_token_id, micro_batch_tokens))


def pair_report(pairs: Sequence[TokenPair], scores: Tensor) -> PairReport:
    """Report from the scores (2 N,) of N pairs that are decided, chosen first."""
    count = len(pairs)
    ahead = scores[:count] - scores[count:]
    prompts = torch.tensor([float(pair.prompt_length) for pair in pairs]).repeat(2)
    lengths = torch.tensor([float(len(sequence)) for sequence in answers(pairs)]) - prompts
    longer = lengths[:count] - lengths[count:]
    varies = scores.std(correction=0) > 0 and lengths.std(correction=0) > 0
    overall = accuracy(ahead)
    return PairReport(
        pairs=count,
        accuracy=overall.share,
        accuracy_low=overall.low,
        accuracy_high=overall.high,
        margin=float(ahead.mean()),
        loss=float(-nn.functional.logsigmoid(ahead).mean()),
        length_correlation=float(torch.corrcoef(torch.stack([scores, lengths]))[0, 1]) if varies else None,
        length_slope=length_slope(ahead, longer),
        longer_preferred_share=accuracy(longer).share,
        longer_expected_share=float(torch.sigmoid(ahead * longer.sign()).mean()),
        by_tag=_by(_tagged(pairs), ahead),
        by_length=_by(_length_buckets(longer), ahead),
        margins=margin_histogram(ahead),
        calibration=calibration(ahead),
    )


def accuracy(ahead: Tensor) -> Share:
    """Share of differences above 0."""
    wins, n = float(_wins(ahead).sum()), len(ahead)
    low, high = wilson(wins, n)
    return Share(share=wins / n, low=low, high=high, n=n)


def agreement(ahead: Tensor, previous: Tensor) -> Share:
    """Share of pairs that two reward models rank the same way; where either has a tie, half."""
    return accuracy(ahead.sign() * previous.sign())


def length_slope(ahead: Tensor, longer: Tensor) -> float | None:
    """Least-squares slope of score on length inside a pair, per 100 tokens; `longer` (N,) in tokens.

    Through the origin, since which answer of a pair comes first is arbitrary for this.
    """
    squares = float(longer.square().sum())
    return 100.0 * float((ahead * longer).sum()) / squares if squares > 0 else None


def margin_histogram(ahead: Tensor) -> Histogram:
    """Of `ahead`, in equal bins that are symmetric around 0."""
    reach = float(ahead.abs().max()) or 1.0
    counts = torch.histc(ahead, bins=MARGIN_BINS, min=-reach, max=reach)
    edges = [reach * (2 * index / MARGIN_BINS - 1) for index in range(MARGIN_BINS + 1)]
    return Histogram(edges=edges, counts=counts.long().tolist())


def calibration(ahead: Tensor) -> Calibration:
    """Reliability curve and ECE of sigmoid(|ahead|) as the probability that the higher score is preferred."""
    confidence, wins = torch.sigmoid(ahead.abs()), _wins(ahead)
    width = 0.5 / CONFIDENCE_BINS
    which = ((confidence - 0.5) / width).long().clamp(max=CONFIDENCE_BINS - 1)
    bins = []
    for index in which.unique().tolist():
        inside = which == index
        bins.append(
            ReliabilityBin(
                confidence=float(confidence[inside].mean()),
                accuracy=float(wins[inside].mean()),
                n=int(inside.sum()),
            )
        )
    ece = sum(part.n * abs(part.accuracy - part.confidence) for part in bins) / len(ahead)
    return Calibration(ece=ece, bins=bins)


def _wins(ahead: Tensor) -> Tensor:
    return (ahead > 0).float() + 0.5 * (ahead == 0).float()


def _tagged(pairs: Sequence[TokenPair]) -> dict[str, list[int]]:
    """Tag -> the pairs that have it; a pair may have several."""
    found: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        for tag in pair.tags or (UNTAGGED,):
            found.setdefault(tag, []).append(index)
    return dict(sorted(found.items()))


def _length_buckets(longer: Tensor) -> dict[str, list[int]]:
    """Name of the bucket -> its pairs, in order."""
    low, high = ("-inf", *map(str, LENGTH_EDGES)), (*map(str, LENGTH_EDGES), "inf")
    names = [f"{start} to {end}" for start, end in zip(low, high, strict=True)]
    which = torch.bucketize(longer, torch.tensor(LENGTH_EDGES, dtype=longer.dtype))
    found = {name: (which == index).nonzero()[:, 0].tolist() for index, name in enumerate(names)}
    return {name: inside for name, inside in found.items() if inside}


def _by(parts: Mapping[str, Sequence[int]], ahead: Tensor) -> dict[str, Share]:
    return {name: accuracy(ahead[torch.tensor(inside)]) for name, inside in parts.items()}
