"""Ranking: the pairwise loss, the weights of the pairs, and the scores of sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.backend import Trained, abreast, through
from trainer.data import Batch, pad_right
from trainer.models import Precision, RewardModel, autocast
from trainer.packing import Packed
from trainer.pairs import TokenPair
from trainer.ranks import ALONE, Ranks


def ranking_loss(
    chosen: Tensor, rejected: Tensor, *, preference: Tensor, margin: Tensor, label_smoothing: float
) -> Tensor:
    """Pairwise ranking loss of each pair, fp32; all tensors (N,) -> (N,).

    -q log sigmoid(d) - (1 - q) log sigmoid(-d), with d = chosen - rejected - (2 p - 1) margin and
    q = p (1 - a) + (1 - p) a for preference p and smoothing a. With p = 1, a = 0 and no margin it is eq. 1 of
    arXiv 2307.04964 with its sign put right; smoothing and margin as in arXiv 2401.06080. A tie (p = 0.5) has
    no margin: its loss is least where both scores are equal.
    """
    certainty = 2.0 * preference - 1.0
    ahead = chosen.float() - rejected.float() - certainty * margin
    target = preference - label_smoothing * certainty
    return -target * nn.functional.logsigmoid(ahead) - (1.0 - target) * nn.functional.logsigmoid(-ahead)


def balanced_weights(pairs: Sequence[TokenPair], seed_share: float) -> Tensor:
    """Loss weights of the pairs with mean 1, seed pairs having `seed_share` of the whole: (N,).

    With votes only or seed pairs only, the share has nothing to divide and each keeps its own weight.
    """
    weights = torch.tensor([pair.weight for pair in pairs])
    is_seed = torch.tensor([pair.source == "seed" for pair in pairs])
    seeds, votes = weights[is_seed].sum(), weights[~is_seed].sum()
    if seeds > 0 and votes > 0:
        weights = torch.where(is_seed, weights * seed_share / seeds, weights * (1.0 - seed_share) / votes)
    return weights * len(pairs) / weights.sum()


def balanced_thumbs(thumbs: Sequence[TokenPair], coef: float) -> list[TokenPair]:
    """Thumbs with the weight `coef` each on average, of which up and down have half, whichever are more.

    Otherwise the threshold would learn how freely people praise. Thumbs of one kind only are left out: the
    threshold would run away from all of them and teach nothing.
    """
    up = sum(bool(thumb.chosen) for thumb in thumbs)
    down = len(thumbs) - up
    if coef == 0 or not up or not down:
        return []
    balance = {True: len(thumbs) / (2 * up), False: len(thumbs) / (2 * down)}
    return [replace(one, weight=one.weight * coef * balance[bool(one.chosen)]) for one in thumbs]


def lm_loss(hidden: Tensor, packed: Packed, lm_head: Tensor, precision: Precision = "bf16") -> Tensor:
    """Token mean cross-entropy of the preferred answers, each once, prompts masked. hidden (R, T, H)."""
    states, targets = [], []
    for index in sorted({int(index) for index in packed.chosen if index >= 0}):
        row, start, end, prompt_end = packed.places[index]
        states += [hidden[row, prompt_end - 1 : prompt_end], hidden[row, start : end - 1]]
        targets.append(packed.input_ids[row, start:end])
    if not targets:
        return hidden.new_zeros(())
    with autocast(hidden.device, precision):
        logits = nn.functional.linear(torch.cat(states), lm_head)
    return nn.functional.cross_entropy(logits.float(), torch.cat(targets))


@torch.no_grad()
def score_sequences(
    model: RewardModel | Trained[RewardModel],
    sequences: Sequence[Sequence[int]],
    pad_token_id: int,
    micro_batch_tokens: int,
    precision: Precision = "bf16",
    ranks: Ranks = ALONE,
) -> Tensor:
    """Scores of prompt-and-answer token sequences, (N,) fp32 on the CPU, in the order given."""
    lengths = [len(sequence) for sequence in sequences]
    scores = torch.zeros(len(sequences))
    device = (model if isinstance(model, RewardModel) else model.model).head.weight.device

    def score(reward_model: RewardModel, batch: Batch) -> Tensor:
        with autocast(device, precision):
            return reward_model.scores(**batch.inputs())

    def one(part: Sequence[int]) -> tuple[list[int], Tensor]:
        batch = pad_right([sequences[index] for index in part], pad_token_id, device)
        return list(part), through(model, score, batch)

    for rows, counts in ranks.passes(range(len(sequences)), lengths, micro_batch_tokens):
        for part, found in abreast(model, one, rows, lengths):
            if counts:
                scores[part] = found.cpu()
    ranks.add(scores)
    return scores


def answers(pairs: Sequence[TokenPair]) -> list[list[int]]:
    """The 2 N sequences of N pairs: all preferred ones, then all the others."""
    return [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
