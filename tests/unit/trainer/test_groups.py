"""Group-invariant learning: its equations against autograd, hand-worked numbers and its own invariants."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.groups import (
    HighGroup,
    between_group_variance,
    dro_factors,
    dro_step,
    group_returns,
    head_loss,
    invariance_shaping,
    kl_factors,
    quantile_groups,
    random_groups,
    shares,
)


def soft(size: int, groups: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Soft groups (B, M) and scores (B,), double."""
    chance = torch.Generator().manual_seed(seed)
    p = torch.randn(size, groups, generator=chance, dtype=torch.float64).softmax(1)
    return p, torch.randn(size, generator=chance, dtype=torch.float64) * 2 + 3


def test_group_returns_by_hand() -> None:
    # Group 0: (1 x 2 + 0.5 x 4) / 1.5; group 1: (0.5 x 4 + 1 x 6) / 1.5.
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    scores = torch.tensor([2.0, 4.0, 6.0])
    assert group_returns(p, scores).tolist() == pytest.approx([4 / 1.5, 8 / 1.5])
    assert shares(p).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("groups", [2, 3])
def test_the_shaping_has_the_gradient_of_the_variance_between_groups(groups: int) -> None:
    # A softmax bandit: 4 answers, drawn in exactly the proportions of the policy (1, 2, 3 and 4 of 10), so
    # that the mean over the batch is the expectation.
    p, scores = soft(4, groups)
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().requires_grad_()
    pi = logits.softmax(0)
    returns = (pi[:, None] * p * scores[:, None]).sum(0) / (pi[:, None] * p).sum(0)
    objective = -0.3 * ((returns - returns.mean()) ** 2).mean()
    (wanted,) = torch.autograd.grad(objective, logits, retain_graph=True)

    rows = torch.tensor([0, 1, 1, 2, 2, 2, 3, 3, 3, 3])
    shaping = invariance_shaping(p[rows], scores[rows], coef=0.3)
    (found,) = torch.autograd.grad((shaping * pi.log()[rows]).mean(), logits)
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-6)
    assert float(wanted.abs().max()) > 1e-3


def test_two_groups_are_shaped_as_in_the_closed_form() -> None:
    p, scores = soft(9)
    high_return, low_return = (float(value) for value in group_returns(p, scores))
    gap, share = high_return - low_return, shares(p)
    wanted = -(0.1 * gap / 2) * (
        p[:, 0] * (scores - high_return) / share[0] - p[:, 1] * (scores - low_return) / share[1]
    )
    assert torch.allclose(invariance_shaping(p, scores, coef=0.1), wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_shaping_adds_up_to_zero(seed: int) -> None:
    p, scores = soft(17, seed=seed)
    assert float(invariance_shaping(p, scores, coef=1.0).sum()) == pytest.approx(0.0, abs=1e-9)


def test_groups_of_equal_returns_are_left_alone() -> None:
    p = torch.full((6, 2), 0.5, dtype=torch.float64)
    assert invariance_shaping(p, soft(6)[1], coef=1.0).abs().max() < 1e-12


def test_half_and_half_halves_the_published_coefficient_and_preserves_the_mean_otherwise() -> None:
    half = torch.full((4,), 0.5)
    assert (0.05 * kl_factors(half, "published", gap=1.0)).tolist() == pytest.approx([0.025] * 4)
    assert kl_factors(half, "mean-preserving", gap=1.0).tolist() == [1.0] * 4
    assert kl_factors(half, "off", gap=1.0).tolist() == [1.0] * 4
    assert float(kl_factors(soft(8)[0][:, 0], "mean-preserving", gap=0.7).mean()) == pytest.approx(1.0)
    assert kl_factors(torch.ones(3), "published", gap=1.0).tolist() == [1.0] * 3  # p = 1: PPO-max


def test_half_of_the_penalty_moves_and_no_answer_escapes_it() -> None:
    # Mean 0.5: 1 + s (p / 0.5 - 1) with s = 0.5, and with s = 0.2 for a gap of 0.4 deviations.
    p_high = torch.tensor([1.0, 0.0, 0.75, 0.25])
    assert kl_factors(p_high, "mean-preserving", gap=1.0).tolist() == pytest.approx([1.5, 0.5, 1.25, 0.75])
    assert kl_factors(p_high, "mean-preserving", gap=9.0).tolist() == pytest.approx([1.5, 0.5, 1.25, 0.75])
    assert kl_factors(p_high, "mean-preserving", gap=0.4).tolist() == pytest.approx([1.2, 0.8, 1.1, 0.9])


def test_groups_that_change_places_change_nothing_at_once() -> None:
    # At a gap of 0, either group may be called the high one. While the patience lasts the gap is below 0.
    p_high = torch.tensor([1.0, 0.0, 0.75, 0.25])
    for column in (p_high, 1 - p_high):
        assert kl_factors(column, "mean-preserving", gap=0.0).tolist() == [1.0] * 4
        assert kl_factors(column, "mean-preserving", gap=-0.5).tolist() == [1.0] * 4


def test_the_variance_between_groups_is_what_hard_groups_explain() -> None:
    # Two groups of returns 1 and 5, mean 3: 0.5 x 4 + 0.5 x 4. A shift of all scores changes nothing.
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    scores = torch.tensor([0.0, 2.0, 4.0, 6.0])
    assert between_group_variance(p, scores).item() == pytest.approx(4.0)
    assert between_group_variance(p, scores + 100).item() == pytest.approx(4.0, rel=1e-4)


def test_an_outlier_alone_is_not_worth_a_group() -> None:
    # Against the plain variance of the returns, which a group of one outlier makes largest.
    scores = torch.tensor([0.0] * 9 + [5.0] + [1.0] * 10)
    outlier, halves = torch.zeros(20, 2), quantile_groups(scores)
    outlier[:, 0], outlier[9] = 1.0, torch.tensor([0.0, 1.0])
    plain = [float(group_returns(p, scores).var(correction=0)) for p in (outlier, halves)]
    assert plain[0] > plain[1]
    settings = {"critic_coef": 1.0, "entropy_coef": 1.0, "entropy_floor": 0.6}
    assert head_loss(outlier, scores, **settings) > head_loss(halves, scores, **settings)


def test_a_tiny_group_gets_no_reward_and_a_way_back() -> None:
    logits = torch.tensor([4.0, 0.0]).repeat(8, 1).requires_grad_()
    p, scores = logits.softmax(1), soft(8)[1].float()  # shares 0.98 and 0.02
    loss = head_loss(p, scores, critic_coef=100.0, entropy_coef=1.0, entropy_floor=0.6)
    entropy = -sum(share * math.log(share) for share in p[0].tolist())
    assert loss.item() == pytest.approx(0.6 - entropy, rel=1e-4)  # nothing of the variance
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[:, 0] > 0).all()  # a descent makes the large group smaller


def test_learned_groups_find_the_hard_topic_and_random_ones_do_not() -> None:
    # Two topics in 16 features; answers of topic 1 score 2 lower, under noise. No label of the topic is seen.
    chance = torch.Generator().manual_seed(0)
    topic = torch.arange(256) % 2
    features = torch.randn(256, 16, generator=chance) + topic[:, None] * torch.randn(16, generator=chance)
    scores = 1.0 - 2.0 * topic + torch.randn(256, generator=chance)
    weight = (torch.randn(2, 16, generator=chance) / 4).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.02)
    for _ in range(100):
        loss = head_loss(
            (features @ weight.T).softmax(1), scores, critic_coef=1.0, entropy_coef=1.0, entropy_floor=0.6
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    p = (features @ weight.T).softmax(1).detach()
    high = int(group_returns(p, scores).argmax())
    easy = (topic == 0).float()
    control = random_groups(256, 0, torch.device("cpu"))[:, 1]
    found, blind = (
        float(torch.corrcoef(torch.stack([column, easy]))[0, 1]) for column in (p[:, high], control)
    )
    assert found > 0.5
    assert abs(blind) < 0.2


def test_the_baselines_are_halves() -> None:
    assert quantile_groups(torch.tensor([3.0, 1.0, 2.0, 4.0])).tolist() == [[0, 1], [1, 0], [1, 0], [0, 1]]
    one, two = (random_groups(10, seed, torch.device("cpu")) for seed in (1, 2))
    assert one.sum(0).tolist() == [5.0, 5.0]
    assert not torch.equal(one, two)
    assert torch.equal(one, random_groups(10, 1, torch.device("cpu")))


def test_dro_moves_weight_to_the_worse_group() -> None:
    # q = (1/2, 1/2), returns 1 and 0, rate ln 3: 1/3 against 1, so 1/4 and 3/4.
    weights = dro_step(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), rate=math.log(3.0))
    assert weights.tolist() == pytest.approx([0.25, 0.75])
    # Groups of 2 and 2 answers: 0.25 / 0.5 and 0.75 / 0.5, mean 1.
    factors = dro_factors(quantile_groups(torch.tensor([1.0, 2.0, 3.0, 4.0])).flip(1), weights)
    assert factors.tolist() == pytest.approx([1.5, 1.5, 0.5, 0.5])


def test_equal_weights_and_equal_groups_are_ppo_max() -> None:
    p = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    assert dro_factors(p, torch.tensor([0.5, 0.5])).tolist() == pytest.approx([1.0, 1.0])


def test_the_high_group_changes_only_after_three_batches_that_agree() -> None:
    high = HighGroup()
    assert high.update(torch.tensor([1.0, 0.0])) == 0
    # The average leads over in the first batch already: 0.9 + 0 against 0.1 x 20.
    assert high.update(torch.tensor([0.0, 20.0])) == 0
    assert high.gap == pytest.approx(0.9 - 2.0)
    assert [high.update(torch.tensor([0.0, 20.0])) for _ in range(2)] == [0, 1]
    assert high.gap > 0
    assert high.flips == 1


def test_one_noisy_batch_moves_the_average_and_not_the_group() -> None:
    high = HighGroup()
    high.update(torch.tensor([1.0, 0.0]))
    assert high.update(torch.tensor([0.0, 5.0])) == 0  # average 0.9 and 0.5
    assert high.averages == pytest.approx((0.9, 0.5))
    assert high.gap == pytest.approx(0.4)
    assert HighGroup(*high.state()).averages == high.averages
