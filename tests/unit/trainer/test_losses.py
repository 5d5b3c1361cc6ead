"""Losses of PPO against numbers worked out beside each test."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.losses import (
    adapted_penalty,
    entropy_hinge,
    importance_weights,
    policy_loss,
    value_loss,
)

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


def test_clip_range_zero_leaves_the_ratio_alone() -> None:
    logprob = torch.tensor([[math.log(1.5)]], requires_grad=True)
    result = policy_loss(logprob, torch.zeros(1, 1), torch.tensor([[2.0]]), ONE, clip_range=0.0)
    result.loss.backward()
    assert logprob.grad is not None
    assert (result.loss.item(), result.clipped.item()) == pytest.approx((-3.0, 0.0))
    assert logprob.grad.item() == pytest.approx(-3.0)


def test_ppo_penalty_pays_for_the_distance_and_clips_nothing() -> None:
    # Ratio 1.5, A = 2, weight 4: -3 + 4 (1.5 - 1 - ln 1.5); gradient -2 x 1.5 + 4 (1.5 - 1) = -1.
    logprob = torch.tensor([[math.log(1.5)]], requires_grad=True)
    result = policy_loss(
        logprob, torch.zeros(1, 1), torch.tensor([[2.0]]), ONE, clip_range=0.2, penalty_coef=4.0
    )
    result.loss.backward()
    assert logprob.grad is not None
    assert result.loss.item() == pytest.approx(-3.0 + 4 * (0.5 - math.log(1.5)), rel=1e-5)
    assert (logprob.grad.item(), result.clipped.item()) == pytest.approx((-1.0, 0.0), abs=1e-5)


def test_the_penalty_and_its_gradient_are_those_of_the_kl() -> None:
    # Five tokens, both distributions known: the mean under the old one is the KL by its definition.
    chance = torch.Generator().manual_seed(0)
    old = torch.randn(5, generator=chance, dtype=torch.float64).log_softmax(0)
    logits = torch.randn(5, generator=chance, dtype=torch.float64, requires_grad=True)
    new = logits.log_softmax(0)
    exact = (old.exp() * (old - new)).sum()
    zeros, mask = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    estimate = sum(
        old[token].exp()
        * policy_loss(
            new[token].reshape(1, 1), old[token].reshape(1, 1), zeros, mask, clip_range=0.2, penalty_coef=1.0
        ).loss
        for token in range(5)
    )
    assert isinstance(estimate, torch.Tensor)
    assert estimate.item() == pytest.approx(exact.item())
    (wanted,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (found,) = torch.autograd.grad(estimate, logits)
    assert torch.allclose(wanted, found)


@pytest.mark.parametrize(("kl", "wanted"), [(0.0151, 8.0), (0.0066, 2.0), (0.0149, 4.0), (0.0067, 4.0)])
def test_the_penaltys_weight_doubles_and_halves_at_one_and_a_half_times_the_target(
    kl: float, wanted: float
) -> None:
    assert adapted_penalty(4.0, kl, 0.01) == wanted


def test_the_ratio_can_stand_against_the_reference_while_the_distance_stays_that_of_the_update() -> None:
    # pi / ref = 1.1 with A = 2: -2.2. The policy has not moved since it drew: distance and KL are 0.
    logprob = torch.tensor([[math.log(0.55)]])
    result = policy_loss(
        logprob, logprob, torch.tensor([[2.0]]), ONE, clip_range=0.2,
        ref_logprobs=torch.tensor([[math.log(0.5)]]),
    )  # fmt: skip
    assert result.loss.item() == pytest.approx(-2.2)
    assert (result.distance.item(), result.approx_kl.item()) == (0.0, 0.0)


def test_the_entropy_hinge_acts_below_its_target_only() -> None:
    entropy = torch.tensor([[0.5, 1.0, 9.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    # Target 2, tokens 0.5 and 1: 1.5 + 1; one unit of gradient up for each counted token.
    hinge = entropy_hinge(entropy, torch.tensor(0.75), mask, target=2.0)
    hinge.backward()
    assert hinge.item() == pytest.approx(2.5)
    assert entropy.grad is not None
    assert entropy.grad[0].tolist() == [-1.0, -1.0, 0.0]
    assert entropy_hinge(entropy, torch.tensor(2.0), mask, target=2.0).item() == 0.0
