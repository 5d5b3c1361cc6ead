"""Which two answers to ask people about: those on which reward models disagree, and some by chance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from store.records import AskedHow


class Choice(NamedTuple):
    """Two answers to one prompt."""

    prompt: int
    first: int
    second: int
    how: AskedHow
    probability: float
    """That the draw took this pair; 1 for one that was taken for its uncertainty."""
    uncertainty: float


def uncertainty(a: Sequence[float], b: Sequence[float]) -> float:
    """How much the vote on two answers would tell about which reward model is right, in bits, from 0 to 1.

    Each model says with which chance people prefer the first (Bradley-Terry: the logistic function of the
    difference of its scores). Of these the entropy of the mean, less the mean entropy: large where the models
    are of different minds, and 0 where all say that people will be (BALD: Houlsby et al. 2011, arXiv
    1112.5745, eq. 2). Of a single model, which cannot disagree with itself, the entropy: how unsure it is.
    """
    chances = [_logistic(one - other) for one, other in zip(a, b, strict=True)]
    of_the_mean = _entropy(sum(chances) / len(chances))
    if len(chances) == 1:
        return of_the_mean
    return max(0.0, of_the_mean - sum(map(_entropy, chances)) / len(chances))


def choose(
    texts: Sequence[Sequence[str]],
    scores: Sequence[Sequence[Sequence[float]]],
    *,
    count: int,
    uncertain_share: float,
    chance: random.Random,
) -> list[Choice]:
    """Up to `count` pairs, each of another prompt, in random order.

    First those by chance, as if nobody had looked at a score: only they say how often something holds. Then,
    of the prompts that are left, the most uncertain pairs of all.

    texts: of the answers, by prompt. scores: by prompt and answer, one of each reward model.
    """
    pairs = [_different(answers) for answers in texts]
    able = [prompt for prompt, own in enumerate(pairs) if own]
    by_chance = min(len(able), count - round(count * uncertain_share))
    chosen = []
    for prompt in chance.sample(able, by_chance):
        first, second = chance.choice(pairs[prompt])
        doubt = uncertainty(scores[prompt][first], scores[prompt][second])
        odds = by_chance / len(able) / len(pairs[prompt])
        chosen.append(Choice(prompt, first, second, "random", odds, doubt))
    drawn = {choice.prompt for choice in chosen}
    best = []
    for prompt in set(able) - drawn:
        doubts = {pair: uncertainty(*(scores[prompt][one] for one in pair)) for pair in pairs[prompt]}
        first, second = max(doubts, key=lambda pair: (doubts[pair], pair))
        best.append(Choice(prompt, first, second, "uncertain", 1.0, doubts[first, second]))
    best.sort(key=lambda choice: (-choice.uncertainty, choice.prompt))
    chosen += best[: count - len(chosen)] if uncertain_share > 0 else []
    chance.shuffle(chosen)
    return chosen


def _different(answers: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of answers that say something, and not the same."""
    said = [text.strip() for text in answers]
    return [
        (a, b) for a, b in combinations(range(len(said)), 2) if said[a] and said[b] and said[a] != said[b]
    ]


def _entropy(p: float) -> float:
    """Bits of a coin that falls so with probability p."""
    return 0.0 if p in (0.0, 1.0) else -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))
