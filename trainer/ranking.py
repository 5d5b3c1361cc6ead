"""Ranking: the pairwise loss, the weights of the pairs, scores of sequences and how well they rank pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from trainer.data import TokenPair, micro_batches, pad_right
from trainer.models import RewardModel, autocast


class PairReport(BaseModel):
    """How a reward model ranks a set of pairs."""

    model_config = ConfigDict(frozen=True)

    pairs: int
    accuracy: float
    """Share of pairs whose preferred answer scores higher; an equal score counts half."""
    margin: float
    """Mean score of the preferred answers minus that of the others."""
    loss: float
    """Mean of -log sigmoid(margin)."""
    length_correlation: float | None
    """Pearson correlation of score and answer length in tokens; None when either does not vary."""
    longer_preferred_share: float
    """Share of pairs whose preferred answer is the longer one: what length alone would predict."""


def ranking_loss(chosen: Tensor, rejected: Tensor, *, margin: float, label_smoothing: float) -> Tensor:
    """Pairwise ranking loss of each pair, (B,) and (B,) -> (B,), fp32.

    -(1 - a) log sigmoid(d - m) - a log sigmoid(m - d), with d = chosen - rejected. Eq. 1 of arXiv 2307.04964
    with its sign put right; smoothing and margin as in arXiv 2401.06080.
    """
    ahead = chosen.float() - rejected.float() - margin
    agree, differ = nn.functional.logsigmoid(ahead), nn.functional.logsigmoid(-ahead)
    return -(1.0 - label_smoothing) * agree - label_smoothing * differ


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


def lm_loss(hidden: Tensor, pairs: Sequence[TokenPair], lm_head: Tensor) -> Tensor:
    """Token mean of the cross-entropy of the preferred answers, prompts masked. hidden (2 B, T, H)."""
    states, targets = [], []
    for row, pair in enumerate(pairs):
        states.append(hidden[row, pair.prompt_length - 1 : len(pair.chosen) - 1])
        targets += pair.chosen[pair.prompt_length :]
    with autocast(hidden.device):
        logits = nn.functional.linear(torch.cat(states), lm_head)
    return nn.functional.cross_entropy(logits.float(), torch.tensor(targets, device=hidden.device))


def score_sequences(
    model: RewardModel, sequences: Sequence[Sequence[int]], pad_token_id: int, micro_batch_tokens: int
) -> Tensor:
    """Scores of prompt-and-answer token sequences, (N,) fp32 on the CPU, in the order given."""
    lengths = [len(sequence) for sequence in sequences]
    scores = torch.empty(len(sequences))
    device = model.head.weight.device
    with torch.no_grad(), autocast(device):
        for part in micro_batches(range(len(sequences)), lengths, micro_batch_tokens):
            batch = pad_right([sequences[index] for index in part], pad_token_id, device)
            scores[part] = model.scores(**batch.inputs()).cpu()
    return scores


def judge_pairs(
    model: RewardModel, pairs: Sequence[TokenPair], pad_token_id: int, micro_batch_tokens: int
) -> PairReport:
    """How the model ranks pairs: accuracy, margin and what length has to do with it."""
    return pair_report(pairs, score_sequences(model, answers(pairs), pad_token_id, micro_batch_tokens))


def answers(pairs: Sequence[TokenPair]) -> list[list[int]]:
    """The 2 N sequences of N pairs: all preferred ones, then all the others."""
    return [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]


def pair_report(pairs: Sequence[TokenPair], scores: Tensor) -> PairReport:
    """Report from the scores (2 N,) of N pairs, chosen first."""
    ahead = scores[: len(pairs)] - scores[len(pairs) :]
    prompts = torch.tensor([float(pair.prompt_length) for pair in pairs]).repeat(2)
    lengths = torch.tensor([float(len(sequence)) for sequence in answers(pairs)]) - prompts
    longer = lengths[: len(pairs)] - lengths[len(pairs) :]
    varies = scores.std(correction=0) > 0 and lengths.std(correction=0) > 0
    correlation = float(torch.corrcoef(torch.stack([scores, lengths]))[0, 1]) if varies else None
    return PairReport(
        pairs=len(pairs),
        accuracy=float(((ahead > 0).float() + 0.5 * (ahead == 0).float()).mean()),
        margin=float(ahead.mean()),
        loss=float(-nn.functional.logsigmoid(ahead).mean()),
        length_correlation=correlation,
        longer_preferred_share=float(((longer > 0).float() + 0.5 * (longer == 0).float()).mean()),
    )
