"""Annotators of whom nothing is known: does one vote against what everybody else's votes let expect?

Each annotator's votes are predicted by a model that learned from the others' alone (cross-fitting). To train
a reward model anew for each would take hours; a ridge regression on the hidden states of the policy that the
training starts from (a linear probe, arXiv 1610.01644) is far weaker, but leaves each annotator out exactly,
in closed form.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from store.dataset.trust import Checked, by_sureness
from store.records import AnnotatorVotes, GateCheck, PreferencePair
from trainer.backend import abreast
from trainer.config import RewardConfig, RewardGateConfig
from trainer.data import load_tokenizer, pad_right
from trainer.models import backbone_of, default_device, frozen, last_token, load_policy
from trainer.pairs import TokenPair, token_pairs
from trainer.ranking import answers
from trainer.ranks import ALONE
from trainer.reporting import Reporter
from trainer.reward_checks import Agreed, annotator_check

RIDGE = 30.0
"""Of features whose mean squared length is 1. Strong, since hidden states have more numbers than people cast
votes: on HH-RLHF pairs and SmolLM2-135M best or near it from 200 to 1,000 votes."""
FEW = 10
"""Fewer checks than this and nothing is known of somebody; fewer votes and they tell nothing either."""

Places = Mapping[str, Sequence[int]]
"""Annotator -> where their pairs stand in the tensors."""


def judge_annotators(
    *,
    policy: Path,
    pairs: Sequence[PreferencePair],
    annotators: Sequence[AnnotatorVotes],
    config: RewardGateConfig,
    reward: RewardConfig,
    reporter: Reporter,
) -> tuple[list[GateCheck], dict[str, float]]:
    """The check `annotators`, and for each vote how far its answer is ahead by the others' votes.

    Neither where everybody with `min_annotator_share` of the weight is known. The margins have a mean square
    of 1, about that of a reward model's.

    Args:
        policy: whose hidden states are read.
        pairs: all of the data set, whether they train or judge.
    """
    owner = {vote_id: one.annotator_id for one in annotators for vote_id in one.vote_ids}
    used = [pair for pair in pairs if pair.vote_id in owner or pair.source == "import"]
    tokens = [pair for pair in token_pairs(used, load_tokenizer(policy), reward.max_tokens) if pair.decided]
    places: dict[str, list[int]] = {one.annotator_id: [] for one in annotators}
    for place, pair in enumerate(tokens):
        if pair.vote_id in owner:
            places[owner[pair.vote_id]].append(place)
    weights = torch.tensor([pair.weight for pair in tokens], dtype=torch.float64)
    asked = looked_at(annotators, places, weights, config)
    if not asked:
        reporter.log("nobody of whom nothing is known has a large share of the votes")
        return [], {}
    reporter.log(f"predicting the votes of {len(asked)} annotators of whom nothing is known by the others'")
    features = differences(policy, tokens, reward, reporter)
    margins = left_out_margins(features, weights, [own for own in places.values() if own])
    return [annotator_check(compared(asked, places, margins), config)], {
        pair.vote_id: margin
        for pair, margin in zip(tokens, margins.tolist(), strict=True)
        if pair.vote_id is not None and pair.vote_id in owner
    }


def looked_at(
    annotators: Iterable[AnnotatorVotes], places: Places, weights: Tensor, config: RewardGateConfig
) -> dict[str, float]:
    """Annotators of whom nothing is known and who weigh enough -> their share of the weight (N,)."""
    unknown = [one.annotator_id for one in annotators if one.checks < FEW]
    shares = {name: float(weights[list(places[name])].sum() / weights.sum()) for name in unknown}
    least = config.min_annotator_share
    return {
        name: share for name, share in shares.items() if len(places[name]) >= FEW and least <= share < 1.0
    }


def compared(asked: Mapping[str, float], places: Places, margins: Tensor) -> list[Agreed]:
    """Each of these beside everybody else. margins: (N,), each predicted without its annotator's votes."""
    agreed = {name: by_sureness(margins[list(own)].tolist()) for name, own in places.items()}
    found = []
    for name, share in asked.items():
        others = [one for other, one in agreed.items() if other != name]
        rest = Checked(sum(one.right for one in others), sum(one.n for one in others))
        found.append(Agreed(name, len(places[name]), share, agreed[name], rest))
    return found


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
