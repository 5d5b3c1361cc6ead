"""Which two answers to ask people about: those that the reward models are unsure of, and some by chance."""

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
    """How unsure reward models are which of two answers people prefer, from 0 to 1.

    4 p (1 - p) of the mean p over the models of the chance that the first one wins (Bradley-Terry: the
    logistic function of the difference of their scores). It is 1 where each says a half, and where half of
    them are sure of the one and half of the other: unsure and of different minds come to the same. As an
    order of pairs it is that of the entropy of the mean (Settles 2009, Active Learning Literature Survey,
    section 2.2: query by committee, soft vote entropy).
    """
    chances = [_logistic(one - other) for one, other in zip(a, b, strict=True)]
    p = sum(chances) / len(chances)
    return 4 * p * (1 - p)


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


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))
