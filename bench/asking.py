"""How many votes are saved by asking where reward models disagree, for the same held-out accuracy.

.venv/bin/python -m bench.asking

Round after round as the product does it: answers are drawn to more prompts than are asked about, the
product's `choose` takes the duels (by this round's reward model and the one before), simulated people vote,
and a reward model is trained from all votes so far. Here an answer is a vector of features, and a reward
model is linear in them and trained to its optimum (Bradley-Terry with a ridge penalty). People vote by
Bradley-Terry on a taste that nobody knows, so close answers divide them. Accuracy is that of the sign on
5,000 pairs drawn by chance, against the taste itself.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.asking import PROMPTS_FOR_EACH
from workers.choosing import choose
from workers.settings import Asking

Floats = NDArray[np.float64]
FEATURES = 24
DUELS = 25
ROUNDS = 40
SEEDS = 51
HELD_OUT = 5000
RIDGE = 1.0
LEVELS = (0.75, 0.8, 0.85, 0.9)
SHARES = (0.0, 0.5, 1.0)


class People(NamedTuple):
    """How far the taste tells answers apart, in deviations of the difference of two of them."""

    name: str
    strength: float


KINDS = (People("of one mind", 5.0), People("ordinary", 2.5), People("of different minds", 1.25))


def accuracies(people: People, share: float, seed: int) -> Floats:
    """(ROUNDS,): held-out accuracy after each round of votes."""
    draw, chance = np.random.default_rng(seed), random.Random(seed)
    taste = draw.normal(size=FEATURES)
    taste *= people.strength / np.linalg.norm(taste * np.sqrt(2))
    held_out = draw.normal(size=(HELD_OUT, FEATURES)) * np.sqrt(2)
    asked, won, found = np.zeros((0, FEATURES)), np.zeros(0), []
    models = [np.zeros(FEATURES)]
    for _ in range(ROUNDS):
        answers = draw.normal(size=(PROMPTS_FOR_EACH * DUELS, Asking().answers, FEATURES))
        scores = np.stack([answers @ model for model in models], axis=-1)
        texts = [[f"{prompt} {n}" for n in range(answers.shape[1])] for prompt in range(len(answers))]
        chosen = choose(texts, scores.tolist(), count=DUELS, uncertain_share=share, chance=chance)
        duels = np.stack([answers[one.prompt, one.first] - answers[one.prompt, one.second] for one in chosen])
        votes = draw.random(len(duels)) < 1 / (1 + np.exp(-duels @ taste))
        asked, won = np.concatenate([asked, duels]), np.concatenate([won, votes])
        models = [trained(asked, won), models[0]]
        found.append(float(((held_out @ models[0] > 0) == (held_out @ taste > 0)).mean()))
    return np.array(found)


def trained(duels: Floats, won: Floats) -> Floats:
    """(FEATURES,): the reward model that makes the votes likeliest, by Newton's method.

    duels: (N, FEATURES), first answer less second. won: (N,), 1 where the first one was preferred.
    """
    weights = np.zeros(duels.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-duels @ weights))
        slope = duels.T @ (p - won) + RIDGE * weights
        curve = (duels.T * (p * (1 - p))) @ duels + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def votes_needed(accuracy: Floats, level: float) -> float:
    """Votes until the level is first reached, on a line from round to round; infinity where it never is."""
    reached = np.flatnonzero(accuracy >= level)
    if not len(reached):
        return float("inf")
    at = int(reached[0])
    before = accuracy[at - 1] if at else 0.5
    return DUELS * (at + float((level - before) / (accuracy[at] - before)))


def main() -> None:
    print(
        f"median of {SEEDS} seeds, {DUELS} duels a round of {PROMPTS_FOR_EACH * DUELS} prompts,"
        f" {Asking().answers} answers each; votes until this held-out accuracy (quartiles)"
    )
    print(f"{'people':18}  uncertain  " + "  ".join(f"{level:^20.0%}" for level in LEVELS))
    for people in KINDS:
        for share in SHARES:
            runs = [accuracies(people, share, seed) for seed in range(SEEDS)]
            cells = []
            for level in LEVELS:
                needed = [votes_needed(run, level) for run in runs]
                low, middle, high = np.quantile(needed, (0.25, 0.5, 0.75), method="nearest")
                cells.append(f"{middle:5.0f} ({low:5.0f}, {high:5.0f})".center(20))
            print(f"{people.name:18}  {share:9.0%}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
