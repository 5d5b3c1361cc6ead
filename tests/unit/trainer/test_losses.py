"""Losses of PPO against numbers worked out beside each test."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.losses import importance_weights, policy_loss, value_loss

ONE = torch.tensor([[True]])


def surrogate(ratio: float, advantage: float) -> tuple[float, float, float]:
    """Loss, share clipped and gradient with respect to the log-probability, clip range 0.2."""
    logprob = torch.tensor([[math.log(ratio)]], requires_grad=True)
    result = policy_loss(logprob, torch.zeros(1, 1), torch.tensor([[advantage]]), ONE, clip_range=0.2)
    result.loss.backward()
    assert logprob.grad is not None
    return result.loss.item(), result.clipped.item(), logprob.grad.item()


def test_inside_the_clip_range_the_loss_is_minus_ratio_times_advantage() -> None:
    loss, clipped, gradient = surrogate(1.1, 2.0)
    assert (loss, clipped, gradient) == pytest.approx((-2.2, 0.0, -2.2), rel=1e-5)


def test_a_ratio_that_went_far_enough_gets_no_gradient() -> None:
    loss, clipped, gradient = surrogate(1.5, 2.0)
    assert (loss, clipped, gradient) == pytest.approx((-2.4, 1.0, 0.0), rel=1e-5)  # -2 x 1.2


def test_a_ratio_that_went_the_wrong_way_is_never_clipped() -> None:
    loss, clipped, gradient = surrogate(1.5, -2.0)
    assert (loss, clipped, gradient) == pytest.approx((3.0, 0.0, 3.0), rel=1e-5)


def test_distance_of_the_ratio_from_one_counts_both_directions() -> None:
    # Ratios 1.1 and 0.7: 0.1 + 0.3. The third is padding.
    logprobs = torch.tensor([[math.log(1.1), math.log(0.7), 9.0]])
    mask = torch.tensor([[True, True, False]])
    result = policy_loss(logprobs, torch.zeros(1, 3), torch.ones(1, 3), mask, clip_range=0.2)
    assert result.distance.item() == pytest.approx(0.4)


def test_padding_and_huge_ratios_leave_the_loss_finite() -> None:
    logprobs = torch.tensor([[100.0, 5.0]])
    mask = torch.tensor([[True, False]])
    result = policy_loss(logprobs, torch.zeros(1, 2), torch.ones(1, 2), mask, clip_range=0.2)
    assert result.loss.item() == pytest.approx(-1.2)


def test_importance_weights_scale_each_token() -> None:
    weights = torch.tensor([[0.5]])
    result = policy_loss(
        torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1), ONE, clip_range=0.2, weights=weights
    )
    assert result.loss.item() == pytest.approx(-0.5)


def test_importance_weights_are_one_for_equal_engines_and_truncated() -> None:
    old = torch.tensor([[math.log(0.5), math.log(0.5), 0.0]])
    engine = torch.tensor([[math.log(0.5), math.log(0.05), -50.0]])
    mask = torch.tensor([[True, True, False]])
    weights = importance_weights(old, engine, mask, limit=2.0)
    assert weights[0].tolist() == pytest.approx([1.0, 2.0, 1.0])


def test_value_loss_takes_the_larger_of_plain_and_clipped() -> None:
    # Return 1, old value 0, new 0.5: plain (0.5 - 1)^2 = 0.25; clipped at 0.2: (0.2 - 1)^2 = 0.64; its half.
    loss, clipped = value_loss(
        torch.tensor([[0.5]]), torch.zeros(1, 1), torch.ones(1, 1), ONE, value_clip_range=0.2
    )
    assert (loss.item(), clipped.item()) == pytest.approx((0.32, 1.0))


def test_value_clip_range_zero_is_plain_squared_error() -> None:
    loss, clipped = value_loss(
        torch.tensor([[0.5]]), torch.zeros(1, 1), torch.ones(1, 1), ONE, value_clip_range=0.0
    )
    assert (loss.item(), clipped.item()) == pytest.approx((0.125, 0.0))
