"""Rewards and advantages against hand-worked numbers and the plain loop."""

from __future__ import annotations

import pytest
import torch

from trainer.advantages import gae, normalise_scores, shape_rewards
from trainer.tensors import RunningMoments


def test_kl_is_paid_at_every_token_and_the_score_at_the_last() -> None:
    old = torch.tensor([[-1.0, -2.0, -9.0]])
    ref = torch.tensor([[-1.5, -1.0, -9.0]])
    mask = torch.tensor([[True, True, False]])
    rewards = shape_rewards(torch.tensor([2.0]), old, ref, mask, kl_coef=0.1)
    # token 1: -0.1 (-1 + 1.5) = -0.05; token 2: -0.1 (-2 + 1) + 2 = 2.1; padding: 0
    assert rewards[0].tolist() == pytest.approx([-0.05, 2.1, 0.0])


def test_scores_are_normalised_by_their_history_clipped_and_an_endless_answer_pays() -> None:
    moments = RunningMoments(count=3, mean=1.0, m2=8.0)  # deviation sqrt(8 / 2) = 2
    scores = torch.tensor([3.0, 101.0, 3.0])
    ended = torch.tensor([True, True, False])
    result = normalise_scores(scores, ended, moments, score_clip=5.0, missing_eos_penalty=1.5)
    assert result.tolist() == pytest.approx([1.0, 5.0, 1.0 - 1.5])


def test_score_clip_zero_leaves_scores_raw() -> None:
    scores = torch.tensor([3.0, 101.0])
    result = normalise_scores(
        scores, torch.tensor([True, True]), RunningMoments(), score_clip=0.0, missing_eos_penalty=1.0
    )
    assert result.tolist() == [3.0, 101.0]


def test_the_end_penalty_is_in_deviations_of_raw_scores_too() -> None:
    moments = RunningMoments(count=3, mean=1.0, m2=8.0)  # deviation sqrt(8 / 2) = 2
    result = normalise_scores(
        torch.tensor([3.0, 3.0]),
        torch.tensor([True, False]),
        moments,
        score_clip=0.0,
        missing_eos_penalty=1.5,
    )
    assert result.tolist() == pytest.approx([3.0, 3.0 - 1.5 * 2])


def test_reward_scaling_divides_by_the_deviation_and_keeps_the_mean() -> None:
    moments = RunningMoments(count=3, mean=1.0, m2=8.0)  # deviation sqrt(8 / 2) = 2
    result = normalise_scores(
        torch.tensor([3.0, 101.0, 3.0]), torch.tensor([True, True, False]), moments,
        score_clip=0.0, missing_eos_penalty=1.5, score_scaling=True,
    )  # fmt: skip
    assert result.tolist() == pytest.approx([1.5, 50.5, 1.5 - 1.5])


def test_each_answer_can_have_a_kl_coefficient_of_its_own() -> None:
    old, ref = torch.zeros(2, 2), torch.full((2, 2), -1.0)
    mask = torch.tensor([[True, True], [True, False]])
    rewards = shape_rewards(torch.zeros(2), old, ref, mask, kl_coef=torch.tensor([0.1, 0.5]))
    assert rewards.tolist() == [pytest.approx([-0.1, -0.1]), pytest.approx([-0.5, 0.0])]


def test_gae_by_hand() -> None:
    # gamma 1, lambda 0.5, values 1, 2; rewards 0, 3; the value after the end is 0.
    # delta_2 = 3 - 2 = 1; delta_1 = 0 + 2 - 1 = 1; A_2 = 1; A_1 = 1 + 0.5 * 1 = 1.5
    mask = torch.tensor([[True, True, False]])
    values = torch.tensor([[1.0, 2.0, 77.0]])
    advantages, returns = gae(torch.tensor([[0.0, 3.0, 0.0]]), values, mask, gamma=1.0, gae_lambda=0.5)
    assert advantages[0].tolist() == pytest.approx([1.5, 1.0, 0.0])
    assert returns[0].tolist() == pytest.approx([2.5, 3.0, 0.0])


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.7), (1.0, 0.0), (1.0, 1.0)])
def test_gae_equals_the_sum_of_discounted_deltas(gamma: float, gae_lambda: float) -> None:
    chance = torch.Generator().manual_seed(1)
    lengths = [5, 1, 3]
    mask = torch.tensor([[at < length for at in range(5)] for length in lengths])
    rewards = torch.randn(3, 5, generator=chance, dtype=torch.float64) * mask
    values = torch.randn(3, 5, generator=chance, dtype=torch.float64)
    advantages, _ = gae(rewards, values, mask, gamma=gamma, gae_lambda=gae_lambda)
    for row, length in enumerate(lengths):
        following = [*values[row, :length].tolist(), 0.0]
        deltas = [rewards[row, t].item() + gamma * following[t + 1] - following[t] for t in range(length)]
        for t in range(length):
            wanted = sum((gamma * gae_lambda) ** (k - t) * deltas[k] for k in range(t, length))
            assert advantages[row, t].item() == pytest.approx(wanted)
        assert advantages[row, length:].abs().sum() == 0


def test_wider_padding_changes_nothing() -> None:
    mask = torch.tensor([[True, True]])
    rewards, values = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.2, 0.1]])
    narrow, _ = gae(rewards, values, mask, gamma=1.0, gae_lambda=0.9)
    wider = [torch.nn.functional.pad(tensor, (0, 3)) for tensor in (rewards, values, mask)]
    wide, _ = gae(*wider, gamma=1.0, gae_lambda=0.9)
    assert wide[0].tolist() == pytest.approx([*narrow[0].tolist(), 0, 0, 0])
