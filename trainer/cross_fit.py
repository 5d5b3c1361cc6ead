"""What everybody else's votes let expect of an annotator's votes, for people of whom nothing else is known.

Each annotator's votes are predicted by a model that learned from the others' alone (cross-fitting). To train
a reward model anew for each would take hours; a ridge regression on the hidden states of the policy that the
training starts from (a linear probe, arXiv 1610.01644) is far weaker, but leaves each annotator out exactly,
in closed form. What follows from it for the weight of their votes is trust's (store/dataset/trust.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from store.records import AnnotatorVotes
from trainer.backend import abreast
from trainer.config import RewardConfig
from trainer.data import load_tokenizer, pad_right, read_records
from trainer.models import backbone_of, default_device, frozen, last_token, load_policy
from trainer.pairs import TokenPair, read_pairs, token_pairs
from trainer.ranking import answers
from trainer.ranks import ALONE
from trainer.reporting import Reporter

RIDGE = 30.0
"""Of features whose mean squared length is 1. Strong, since hidden states have more numbers than people cast
votes: on HH-RLHF pairs and SmolLM2-135M best or near it from 200 to 1,000 votes."""


def cross_fit(*, policy: Path, data: Path, config: RewardConfig, reporter: Reporter) -> dict[str, float]:
    """For each vote how far its answer is ahead by the others' votes; their mean square is 1.

    Only of votes that prefer one of two answers and fit into `max_tokens`. Pairs of imports teach too;
    rankings and ideal answers are left aside.

    Args:
        policy: whose hidden states are read.
        data: a run's frozen data set.

    Raises:
        DataError: a file of it is missing or damaged.
        ModelError: the policy cannot be loaded.
    """
    pairs = [pair for name in ("train.jsonl", "held_out.jsonl") for pair in read_pairs(data / name)]
    annotators = [one for _, one in read_records(data / "annotators.jsonl", AnnotatorVotes)]
    owner = {vote_id: one.annotator_id for one in annotators for vote_id in one.vote_ids}
    used = [pair for pair in pairs if pair.vote_id in owner or pair.source == "import"]
    tokens = [pair for pair in token_pairs(used, load_tokenizer(policy), config.max_tokens) if pair.decided]
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(tokens):
        if pair.vote_id in owner:
            places.setdefault(owner[pair.vote_id], []).append(place)
    if not places:
        reporter.log("no vote fits into reward.max_tokens: nothing to predict")
        return {}
    reporter.log(f"predicting {len(owner)} votes of {len(places)} annotators by the others'")
    features = differences(policy, tokens, config, reporter)
    weights = torch.tensor([pair.weight for pair in tokens], dtype=torch.float64)
    margins = left_out_margins(features, weights, list(places.values())).tolist()
    return {
        pair.vote_id: margin
        for pair, margin in zip(tokens, margins, strict=True)
        if pair.vote_id is not None and pair.vote_id in owner
    }


def left_out_margins(features: Tensor, weights: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """How far each pair's chosen answer is ahead by a regression without its group, (N,) float64.

    Ridge regression of "the chosen one, by 1" on the features of chosen less rejected, in its dual form. With
    C the inverse of (kernel + ridge) and a = C y, what is left of group g without g is C_gg^-1 a_g: the
    leave-one-out residual (Allen 1974, PRESS) for blocks. Scaled to a mean square of 1. What is in no group
    teaches and is left at 0.

    Args:
        features: (N, F), chosen less rejected. Their scale does not matter.
        weights: (N,) of the pairs, above 0.
        groups: places of the pairs that are left out together.
    """
    scaled = features.double()
    scaled = scaled / scaled.square().mean(0).sqrt().clamp_min(1e-6) / scaled.shape[1] ** 0.5
    root = weights.double().sqrt()
    rows = scaled * root[:, None]
    inverse = torch.linalg.inv(rows @ rows.T + RIDGE * torch.eye(len(rows), dtype=torch.float64))
    left = inverse @ root
    margins = torch.zeros(len(rows), dtype=torch.float64)
    for group in groups:
        own = torch.tensor(group)
        residual = torch.linalg.solve(inverse[own][:, own], left[own])
        margins[own] = 1.0 - residual / root[own]
    grouped = margins[list(chain.from_iterable(groups))]
    return margins / grouped.square().mean().sqrt().clamp_min(1e-12)


@torch.no_grad()
def differences(policy: Path, pairs: Sequence[TokenPair], reward: RewardConfig, reporter: Reporter) -> Tensor:
    """Last hidden states at an answer's end and in its mean, chosen less rejected: (N, 2 H) on the CPU."""
    model, device = frozen(load_policy(policy, default_device())), default_device()
    transformer, sequences = backbone_of(model), answers(pairs)
    begins = [pair.prompt_length for pair in pairs] * 2
    lengths = [len(one) for one in sequences]
    states = torch.zeros(len(sequences), 2 * int(model.config.hidden_size))

    def read(part: Sequence[int]) -> tuple[list[int], Tensor]:
        batch = pad_right([sequences[index] for index in part], 0, device)
        hidden = transformer(**batch.inputs(), use_cache=False).last_hidden_state.float()  # (B, T, H)
        begin = torch.tensor([begins[index] for index in part], device=device)
        said = batch.attention_mask & (batch.position_ids >= begin[:, None])
        mean = (hidden * said[..., None]).sum(1) / said.sum(1, keepdim=True)
        last = hidden[torch.arange(len(hidden), device=device), last_token(batch.attention_mask)]
        return list(part), torch.cat([last, mean], dim=1)

    done, began = 0, time.monotonic()
    for rows, _ in ALONE.passes(range(len(sequences)), lengths, reward.micro_batch_tokens):
        for part, found in abreast(model, read, rows, lengths):
            states[part] = found.cpu()
        done += len(rows)
        reporter.metric(done, len(sequences), {"answers_per_second": done / (time.monotonic() - began)})
    return states[: len(pairs)] - states[len(pairs) :]
