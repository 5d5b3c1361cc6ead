"""Tensor arithmetic against numbers worked out by hand and slow references."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.tensors import (
    RunningMoments,
    before_response,
    correlation,
    explained_variance,
    logprobs_and_entropy,
    masked_mean,
    response_mask,
    scatter,
    whiten,
)


def test_masked_mean_leaves_out_what_does_not_count() -> None:
    values = torch.tensor([[1.0, 2.0, 100.0], [3.0, 100.0, 100.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).item() == pytest.approx((1 + 2 + 3) / 3)


def test_whitening_ignores_padding_and_keeps_it_zero() -> None:
    values = torch.tensor([[1.0, 3.0, 50.0]])
    mask = torch.tensor([[True, True, False]])
    # mean 2, population variance 1
    assert whiten(values, mask)[0].tolist() == pytest.approx([-1.0, 1.0, 0.0], abs=1e-5)


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant() -> None:
    returns, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, True, True]])
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.zeros(1, 3), returns, mask) == pytest.approx(0.0)


def test_the_state_before_each_response_token_is_picked() -> None:
    # Row 0: prompt of 2, answer of 2 -> states 1 and 2. Row 1: prompt of 3, answer of 1 -> state 2.
    hidden = torch.arange(10.0).reshape(2, 5, 1)
    mask = response_mask(torch.tensor([2, 1]), 2)
    picked = hidden.flatten(0, 1)[before_response(torch.tensor([0 + 1, 5 + 2]), mask)]
    assert picked.flatten().tolist() == [1.0, 2.0, 7.0]
    assert scatter(picked.flatten(), mask).tolist() == [[1.0, 2.0], [7.0, 0.0]]


def test_logprobs_are_taken_at_the_rollouts_temperature() -> None:
    # Logits (0, ln 3). At temperature 1: probabilities 1/4 and 3/4; at 2: 1 and sqrt 3 over their sum.
    hidden, token = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([1])
    at_one, entropy = logprobs_and_entropy(hidden, lambda logits: logits, token, 1.0)
    at_two, _ = logprobs_and_entropy(hidden, lambda logits: logits, token, 2.0)
    assert at_one.item() == pytest.approx(math.log(0.75))
    assert at_two.item() == pytest.approx(math.log(math.sqrt(3) / (1 + math.sqrt(3))))
    assert entropy.item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_entropy_has_a_gradient_only_when_it_is_asked_for() -> None:
    # dH/dz of softmax (1/4, 3/4) is -p (log p + H): for the second logit -3/4 (log 3/4 + H).
    hidden = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)
    token = torch.tensor([1])
    _, number = logprobs_and_entropy(hidden, lambda logits: logits, token, 1.0)
    _, entropy = logprobs_and_entropy(hidden, lambda logits: logits, token, 1.0, entropy_gradient=True)
    assert not number.requires_grad
    (gradient,) = torch.autograd.grad(entropy.sum(), hidden)
    assert gradient[0, 1].item() == pytest.approx(-0.75 * (math.log(0.75) + entropy.item()))


def test_running_moments_of_batches_equal_those_of_all_data() -> None:
    data = torch.randn(97, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 5
    moments = RunningMoments()
    for batch in data.split([1, 31, 2, 63]):
        moments.update(batch)
    assert moments.mean == pytest.approx(data.mean().item())
    assert moments.std == pytest.approx(data.std().item())


def test_the_deviation_of_a_single_score_is_one_and_not_a_division_by_zero() -> None:
    moments = RunningMoments()
    moments.update(torch.tensor([4.0]))
    assert (moments.mean, moments.std) == (4.0, 1.0)


def test_correlation_by_hand_and_of_a_constant() -> None:
    # Distances from the mean: -1, 0, 1 and -1, 1, 0: 1 / sqrt(2 x 2).
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])) == pytest.approx(0.5)
    assert correlation(torch.ones(3), torch.tensor([1.0, 3.0, 2.0])) == 0.0
