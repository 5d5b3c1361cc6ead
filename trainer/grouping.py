"""The groups of a training: who is in which, which is the better one, and the head that finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import GroupsConfig
from trainer.experience import Experience
from trainer.groups import (
    GROUPS,
    SHAPING_LIMIT,
    HighGroup,
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
from trainer.monitor import finite
from trainer.tensors import correlation


@dataclass(frozen=True)
class Grouped:
    """What the groups change in one update."""

    scores: Tensor
    """(B,), shaped."""
    kl_coef: Tensor
    """(B,), one coefficient for each answer."""
    advantage_factors: Tensor | None
    """(B,), only under `dro`."""
    metrics: dict[str, float]


class Grouping:
    """Group head, moving averages and weights of a training. The head reads the critic and never moves it."""

    def __init__(self, config: GroupsConfig, hidden_size: int, seed: int, device: torch.device) -> None:
        self.config = config
        self.high = HighGroup()
        self.dro_weights = torch.full((GROUPS,), 1 / GROUPS, device=device)
        # Not zero: where all answers are alike to the head, the variance between groups has no gradient.
        noise = torch.randn(GROUPS, hidden_size, generator=torch.Generator().manual_seed(seed))
        self.head = nn.Linear(hidden_size, GROUPS, bias=True)
        with torch.no_grad():
            self.head.weight.copy_(noise / math.sqrt(hidden_size + 1))
            self.head.bias.zero_()
        self.head.to(device)
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=config.head_lr, weight_decay=0.0)

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs."""
        return {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "high": self.high.state(),
            "dro_weights": self.dro_weights,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.high = HighGroup(*state["high"])
        self.dro_weights = state["dro_weights"]

    @torch.no_grad()
    def apply(self, experience: Experience, scores: Tensor, kl_coef: float, seed: int) -> Grouped:
        """Groups of these answers and what follows for scores (B,), KL coefficients and advantages.

        The head is the one that earlier updates left: what it learns from a batch counts from the next on.
        """
        p = self.probabilities(experience, scores, seed)
        returns = group_returns(p, scores)
        high = self.high.update(returns)
        gap = self.high.gap / max(1e-6, float(scores.std(correction=0)))
        kl_coefs = kl_coef * kl_factors(p[:, high], self.config.kl_mode, gap=gap)
        shaped, factors = scores, None
        if self.config.objective == "dro":
            self.dro_weights = dro_step(self.dro_weights, returns, rate=self.config.dro_rate)
            factors = dro_factors(p, self.dro_weights)
        elif self.config.policy_coef > 0:
            shaping = invariance_shaping(p, scores, coef=self.config.policy_coef)
            shaped = scores + shaping.clamp(-SHAPING_LIMIT, SHAPING_LIMIT)
        kl = ((experience.old_logprobs - experience.ref_logprobs) * experience.mask).sum(1)
        low = 1 - high
        metrics = {
            "group_return_high": float(returns[high]),
            "group_return_low": float(returns[low]),
            "group_gap": float(returns[high] - returns[low]),
            "group_share_high": float(shares(p)[high]),
            "group_score_correlation": correlation(p[:, high], scores),
            "group_length_correlation": correlation(p[:, high], experience.lengths().float()),
            "group_flips": float(self.high.flips),
            "group_kl_high": float(group_returns(p, kl)[high]),
            "group_kl_low": float(group_returns(p, kl)[low]),
            "group_kl_coef": float(kl_coefs.mean()),
            "group_kl_coef_low": float(group_returns(p, kl_coefs)[low]),
        }
        return Grouped(shaped, kl_coefs, factors, metrics)

    def probabilities(self, experience: Experience, scores: Tensor, seed: int) -> Tensor:
        """p (B, M) of each answer."""
        if self.config.source == "quantile":
            return quantile_groups(scores)
        if self.config.source == "random":
            return random_groups(len(scores), seed, scores.device)
        return torch.softmax(self.head(experience.critic_last), 1)

    def learn(self, experience: Experience, scores: Tensor) -> dict[str, float]:
        """Steps of the head on the whole buffer; scores and critic stand still."""
        if self.config.source != "learned":
            return {}
        loss = torch.zeros(())
        for _ in range(self.config.head_steps):
            loss = head_loss(
                self.probabilities(experience, scores, 0),
                scores,
                critic_coef=self.config.critic_coef,
                entropy_coef=self.config.entropy_coef,
                entropy_floor=self.config.entropy_floor,
            )
            self.optimizer.zero_grad(set_to_none=True)
            finite(loss, "the group head's loss").backward()
            self.optimizer.step()
        return {"group_head_loss": loss.item()}
