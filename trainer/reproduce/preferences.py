"""A learned proxy: a reward model trained on the gold judge's comparisons, of which some say the opposite."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from transformers import LlamaForCausalLM

from trainer.data import pad_right
from trainer.models import RewardModel, autocast
from trainer.ranking import ranking_loss, score_sequences
from trainer.reproduce.judges import gold_score
from trainer.reproduce.language import PAD, Language
from trainer.reproduce.policy import CPU, WHOLE_BATCH, critic_of, sample

PAIRS, HELD_OUT, BATCH = 1600, 400, 32


class Pair(NamedTuple):
    """Two answers to one prompt, prompt included, the one the gold judge prefers first."""

    chosen: list[int]
    rejected: list[int]


def compare(policy: LlamaForCausalLM, language: Language, count: int, seed: int) -> list[Pair]:
    """Pairs of answers of a policy, as the gold judge sees them."""
    prompts = language.prompts(count, f"pairs-{seed}")
    first, second = sample(policy, prompts, seed * 2 + 1), sample(policy, prompts, seed * 2 + 2)
    pairs = []
    for one, other in zip(first, second, strict=True):
        better, worse = sorted((one, other), key=gold_score, reverse=True)
        if gold_score(better) > gold_score(worse):
            both = [rollout.prompt_ids + rollout.response_ids for rollout in (better, worse)]
            pairs.append(Pair(*both))
    return pairs


def train_reward(
    policy: LlamaForCausalLM, language: Language, *, flipped: float, epochs: int, seed: int
) -> tuple[RewardModel, float]:
    """A reward model from votes of which the share `flipped` is wrong; and its accuracy on held-out truth."""
    chance = random.Random(f"flips-{seed}")
    pairs = [
        Pair(pair.rejected, pair.chosen) if chance.random() < flipped else pair
        for pair in compare(policy, language, PAIRS, seed)
    ]
    model = critic_of(policy, seed)
    torch.nn.init.zeros_(model.head.weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    for _ in range(epochs):
        chance.shuffle(pairs)
        for at in range(0, len(pairs), BATCH):
            _step(model, pairs[at : at + BATCH], optimizer)
    return model.requires_grad_(False), accuracy(model, compare(policy, language, HELD_OUT, seed + 1000))


def _step(model: RewardModel, pairs: list[Pair], optimizer: torch.optim.Optimizer) -> None:
    batch = pad_right([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs], PAD, CPU)
    with autocast(CPU, "bf16"):
        scores = model.scores(**batch.inputs())
    chosen, rejected = scores[: len(pairs)], scores[len(pairs) :]
    certain, no_margin = torch.ones(len(pairs)), torch.zeros(len(pairs))
    ranking_loss(
        chosen, rejected, preference=certain, margin=no_margin, label_smoothing=0.0
    ).mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def accuracy(model: RewardModel, pairs: list[Pair]) -> float:
    """Share of pairs that the model orders as the gold judge does."""
    chosen = score_sequences(model, [pair.chosen for pair in pairs], PAD, WHOLE_BATCH)
    rejected = score_sequences(model, [pair.rejected for pair in pairs], PAD, WHOLE_BATCH)
    return float((chosen > rejected).float().mean())
