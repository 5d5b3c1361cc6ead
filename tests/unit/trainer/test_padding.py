"""Padding side and amount never change a loss, whatever stands in the padding."""

from __future__ import annotations

from typing import NamedTuple

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from trainer.advantages import gae, shape_rewards
from trainer.losses import entropy_hinge, importance_weights, policy_loss, value_loss
from trainer.tensors import masked_mean, response_mask, whiten


class Padded(NamedTuple):
    """Seven tensors (B, R) of random numbers and one mask; what the mask does not count is 1e4."""

    mask: Tensor
    columns: list[Tensor]
    scores: Tensor


def padded(lengths: list[int], seed: int, *, extra: int, left: bool) -> Padded:
    chance = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = response_mask(torch.tensor(lengths), longest)
    columns = [torch.randn(mask.shape, generator=chance, dtype=torch.float64) for _ in range(7)]
    scores = torch.randn(len(lengths), generator=chance, dtype=torch.float64)
    if left:  # each row pushed to the right edge
        order = torch.argsort(mask.long(), dim=1, stable=True)
        mask, columns = mask.gather(1, order), [column.gather(1, order) for column in columns]
    sides = (extra, 0) if left else (0, extra)
    wide = torch.nn.functional.pad(mask, sides)
    columns = [torch.nn.functional.pad(column, sides, value=1e4) for column in columns]
    return Padded(wide, [column.where(wide, 1e4) for column in columns], scores)


def losses(batch: Padded) -> dict[str, float]:
    """Every loss and mean of an update, from scores to sums."""
    new, old, ref, engine, values, entropy, old_values = (0.3 * column for column in batch.columns)
    mask = batch.mask
    rewards = shape_rewards(batch.scores, old * mask, ref * mask, mask, kl_coef=0.1)
    advantages, returns = gae(rewards, values, mask, gamma=0.99, gae_lambda=0.9)
    white = whiten(advantages, mask)
    weights = importance_weights(old, engine, mask, limit=1.1)
    clipped = policy_loss(new, old, white, mask, clip_range=0.2, weights=weights)
    penalty = policy_loss(new, old, white, mask, clip_range=0.0, penalty_coef=2.0)
    reference = policy_loss(new, old, white, mask, clip_range=0.2, ref_logprobs=ref)
    value, value_clipped = value_loss(values, old_values, returns, mask, value_clip_range=0.2)
    return {
        **{f"clipped {name}": float(number) for name, number in clipped._asdict().items()},
        "penalty": float(penalty.loss),
        "reference": float(reference.loss),
        "value": float(value),
        "value clipped": float(value_clipped),
        "hinge": float(entropy_hinge(entropy, torch.tensor(0.0), mask, target=0.5)),
        "advantage": float(masked_mean(advantages**2, mask)),
    }


@hypothesis.given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 1),
    extra=st.integers(0, 5),
    left=st.booleans(),
    seed=st.integers(0, 1000),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_padding_changes_no_loss(lengths: list[int], extra: int, left: bool, seed: int) -> None:
    tight = losses(padded(lengths, seed, extra=0, left=False))
    assert losses(padded(lengths, seed, extra=extra, left=left)) == pytest.approx(tight, rel=1e-9, abs=1e-9)


@hypothesis.given(
    lengths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    seed=st.integers(0, 1000),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_a_minibatch_cut_into_passes_has_the_same_loss(lengths: list[int], seed: int) -> None:
    mask, columns, _ = padded(lengths, seed, extra=0, left=False)
    new, old, advantages, values, returns, old_values, _ = columns

    def sums(rows: slice) -> list[float]:
        policy = policy_loss(new[rows], old[rows], advantages[rows], mask[rows], clip_range=0.2)
        value, _ = value_loss(values[rows], old_values[rows], returns[rows], mask[rows], value_clip_range=0.2)
        return [float(policy.loss), float(policy.approx_kl), float(value)]

    parts = [sums(slice(row, row + 1)) for row in range(len(lengths))]
    whole = sums(slice(None))
    assert whole == pytest.approx([sum(column) for column in zip(*parts, strict=True)], rel=1e-9)
