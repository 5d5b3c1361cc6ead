"""Group-invariant learning: which answers are easy and which are hard, and a policy that serves both.

arXiv 2310.11971, in the form of its equations that can be computed per answer. B answers, M = 2 groups;
`p` (B, M) holds the probability of each group for each answer, and its rows add up to 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

GROUPS = 2
MIN_SHARE = 0.1
"""A group with less of the answers is an outlier, not a group: the head gets no reward for it."""
SHAPING_LIMIT = 1.0
"""Deviations of the score that the shaping may move one answer."""
MOVABLE_SHARE = 0.5
"""How much of the KL penalty the groups may move between answers; the rest holds every answer."""
WEIGHT_LIMIT = 2.0
"""Largest weight of an answer under `dro`."""


def shares(p: Float[Tensor, "B M"]) -> Float[Tensor, " M"]:
    """m_g: the share of the answers in each group."""
    return p.mean(0)


def group_returns(p: Float[Tensor, "B M"], scores: Float[Tensor, " B"]) -> Float[Tensor, " M"]:
    """R_g = sum_i p_gi R_i / sum_i p_gi (Eq. 3, with soft groups)."""
    return (p * scores[:, None]).sum(0) / p.sum(0).clamp_min(1e-6)


def invariance_shaping(
    p: Float[Tensor, "B M"], scores: Float[Tensor, " B"], *, coef: float
) -> Float[Tensor, " B"]:
    """b_i = -(2 coef / M) sum_g (R_g - mean R) (p_gi / m_g) (R_i - R_g): what to add to each answer's score.

    The policy gradient of the shaped scores is that of E[R] - coef Var_g(R_g). The b_i of a batch add up
    to 0. Scores without KL.
    """
    returns, share = group_returns(p, scores), shares(p).clamp_min(1e-6)
    pull = (returns - returns.mean()) * (p / share) * (scores[:, None] - returns)
    return -(2 * coef / p.shape[1]) * pull.sum(1)


def between_group_variance(p: Float[Tensor, "B M"], scores: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """B = sum_g m_g (R_g - mean_i R_i)^2, which the head makes large.

    Weighed by the shares, because the plain variance of the R_g is largest for a group of a few outliers.
    """
    centred = scores - scores.mean()
    return (shares(p) * group_returns(p, centred) ** 2).sum()


def shares_entropy(p: Float[Tensor, "B M"]) -> Float[Tensor, ""]:
    """Entropy of the groups' shares in nats: ln 2 when both are as large."""
    share = shares(p).clamp_min(1e-6)
    return -(share * share.log()).sum()


def head_loss(
    p: Float[Tensor, "B M"],
    scores: Float[Tensor, " B"],
    *,
    critic_coef: float,
    entropy_coef: float,
    entropy_floor: float,
) -> Float[Tensor, ""]:
    """-critic_coef B + entropy_coef max(0, entropy_floor - H(m)); B counts only while no group is tiny."""
    loss = entropy_coef * (entropy_floor - shares_entropy(p)).clamp_min(0.0)
    if float(shares(p.detach()).min()) >= MIN_SHARE:
        loss = loss - critic_coef * between_group_variance(p, scores)
    return loss


def kl_factors(
    p_high: Float[Tensor, " B"], mode: Literal["off", "published", "mean-preserving"], *, gap: float
) -> Float[Tensor, " B"]:
    """What each answer's KL coefficient is multiplied by: easy answers are held tight, hard ones may explore.

    `published` is p_high itself (Eq. 8). `mean-preserving` is 1 + s (p_high / mean p_high - 1): the penalty
    is moved between answers and not about halved. s = MOVABLE_SHARE x min(1, gap), where `gap` is how far
    the high group's return is above the other's, in deviations of the scores. So no answer escapes the
    penalty by looking hard, and of two equal groups it does not matter which is called the high one.
    """
    if mode == "off":
        return torch.ones_like(p_high)
    if mode == "published":
        return p_high
    moved = MOVABLE_SHARE * min(1.0, max(0.0, gap))
    return 1 + moved * (p_high / p_high.mean().clamp_min(1e-6) - 1)


def quantile_groups(scores: Float[Tensor, " B"]) -> Float[Tensor, "B M"]:
    """Baseline: the lower half of the scores is group 0, the upper half group 1; ties by position."""
    upper = torch.zeros_like(scores)
    upper[scores.argsort(stable=True)[len(scores) // 2 :]] = 1.0
    return torch.stack([1 - upper, upper], 1)


def random_groups(size: int, seed: int, device: torch.device) -> Float[Tensor, "B M"]:
    """Control: a coin for each answer, with half of them in each group."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).to(device)
    return quantile_groups(order.float())


def dro_step(
    weights: Float[Tensor, " M"], returns: Float[Tensor, " M"], *, rate: float
) -> Float[Tensor, " M"]:
    """q_g proportional to q_g exp(-rate R_g): weight moves to the worse group (arXiv 1911.08731, Alg. 1)."""
    return torch.softmax(weights.log() - rate * returns, 0)


def dro_factors(p: Float[Tensor, "B M"], weights: Float[Tensor, " M"]) -> Float[Tensor, " B"]:
    """sum_g q_g p_gi / m_g, at most 2: what each answer's advantages are multiplied by. Its mean is 1."""
    return (p * (weights / shares(p).clamp_min(1e-6))).sum(1).clamp(max=WEIGHT_LIMIT)


class HighGroup:
    """Which group has the higher returns: by their moving average, and only after three batches that agree.

    Without the patience the per-answer KL coefficients would turn round with every noisy batch.
    """

    DECAY, PATIENCE = 0.9, 3

    def __init__(
        self, averages: tuple[float, ...] = (), index: int = 0, against: int = 0, flips: int = 0
    ) -> None:
        self.averages = averages
        self.index = index
        self.against = against
        """Batches running that named the other group."""
        self.flips = flips

    def update(self, returns: Float[Tensor, " M"]) -> int:
        """Take in a batch's group returns; the high group from here on."""
        new = tuple(float(value) for value in returns)
        if not all(math.isfinite(value) for value in new):
            return self.index
        if not self.averages:
            self.averages, self.index = new, new.index(max(new))
            return self.index
        pairs = zip(self.averages, new, strict=True)
        self.averages = tuple(self.DECAY * old + (1 - self.DECAY) * value for old, value in pairs)
        leader = self.averages.index(max(self.averages))
        self.against = self.against + 1 if leader != self.index else 0
        if self.against >= self.PATIENCE:
            self.index, self.against, self.flips = leader, 0, self.flips + 1
        return self.index

    @property
    def gap(self) -> float:
        """How far the high group's average is above the other's; below 0 while the patience lasts."""
        others = [value for index, value in enumerate(self.averages) if index != self.index]
        return self.averages[self.index] - max(others) if self.averages else 0.0

    def state(self) -> tuple[tuple[float, ...], int, int, int]:
        """What the constructor takes."""
        return self.averages, self.index, self.against, self.flips
