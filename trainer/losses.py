"""Losses of PPO-max, each summed over tokens, so that micro-batches add up to the minibatch's token mean."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LOG_RATIO_LIMIT = 20.0


class PolicyLoss(NamedTuple):
    loss: Float[Tensor, ""]
    """Sum over the counted tokens."""
    clipped: Float[Tensor, ""]
    """Tokens whose ratio was clipped."""
    approx_kl: Float[Tensor, ""]
    """Sum of (ratio - 1) - log ratio, new against old."""
    distance: Float[Tensor, ""]
    """Sum of abs(ratio - 1), new against old: 0 while the policy is still the one that drew the answers."""


def policy_loss(
    logprobs: Float[Tensor, "B R"],
    old_logprobs: Float[Tensor, "B R"],
    advantages: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    *,
    clip_range: float,
    weights: Float[Tensor, "B R"] | None = None,
    penalty_coef: float = 0.0,
    ref_logprobs: Float[Tensor, "B R"] | None = None,
) -> PolicyLoss:
    """Clipped surrogate (arXiv 1707.06347, Eq. 7): sum of max(-A ratio, -A clip(ratio, 1 +- clip_range)).

    `clip_range` 0 leaves the ratio alone. With `penalty_coef` the loss is that of PPO-penalty (Eq. 8 ibid.),
    -A ratio + penalty_coef KL(old || new), without a clip; the KL is (ratio - 1) - log ratio: unbiased under
    the old policy, as is its gradient. `weights` are the truncated importance weights of trainer against
    engine, one per token. With `ref_logprobs` the ratio is that against the reference model (importance
    sampling in section 5.3.2 of arXiv 2307.04964).
    """
    # The limit keeps exp() finite for a policy far from its rollouts.
    log_moved = ((logprobs - old_logprobs) * mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = moved = log_moved.exp()
    if ref_logprobs is not None:
        ratio = ((logprobs - ref_logprobs) * mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    plain = bounded = -advantages * ratio
    if penalty_coef > 0:
        loss = plain + penalty_coef * (moved - 1 - log_moved)
    elif clip_range > 0:
        bounded = -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
        loss = torch.maximum(plain, bounded)
    else:
        loss = plain
    if weights is not None:
        loss = loss * weights
    with torch.no_grad():
        clipped = ((bounded > plain) * mask).sum().float()
        approx_kl = ((moved - 1 - log_moved) * mask).sum()
        distance = ((moved - 1).abs() * mask).sum()
    return PolicyLoss((loss * mask).sum(), clipped, approx_kl, distance)


def value_loss(
    values: Float[Tensor, "B R"],
    old_values: Float[Tensor, "B R"],
    returns: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    *,
    value_clip_range: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Half the squared error, the larger of plain and clipped; (sum, tokens clipped). Range 0: plain."""
    plain = (values - returns) ** 2
    if value_clip_range == 0:
        return 0.5 * (plain * mask).sum(), torch.zeros((), device=values.device)
    moved = old_values + (values - old_values).clamp(-value_clip_range, value_clip_range)
    bounded = (moved - returns) ** 2
    clipped = ((bounded > plain) * mask).sum().float()
    return 0.5 * (torch.maximum(plain, bounded) * mask).sum(), clipped


def entropy_hinge(
    entropy: Float[Tensor, "B R"],
    old_entropy: Float[Tensor, ""],
    mask: Bool[Tensor, "B R"],
    *,
    target: float,
) -> Float[Tensor, ""]:
    """max(0, target - mean entropy) of the minibatch, as a sum over tokens; the hinge of section 5.3.2 of
    arXiv 2307.04964.

    Which side of the target the minibatch is on is read from `old_entropy`, its mean before the update: the
    same for all of its passes, however it is cut.
    """
    if float(old_entropy) >= target:
        return torch.zeros((), device=entropy.device)
    return ((target - entropy) * mask).sum()


def adapted_penalty(penalty_coef: float, kl: float, target: float) -> float:
    """The weight of PPO-penalty after an update that moved by `kl` (section 4 of arXiv 1707.06347)."""
    if kl > 1.5 * target:
        return penalty_coef * 2
    return penalty_coef / 2 if kl < target / 1.5 else penalty_coef


def importance_weights(
    old_logprobs: Float[Tensor, "B R"],
    engine_logprobs: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    *,
    limit: float,
) -> Float[Tensor, "B R"]:
    """min(trainer / engine probability, limit) per token: the engine that drew the answers computes a
    slightly different policy than the trainer (truncated importance sampling).
    """
    log_ratio = ((old_logprobs - engine_logprobs) * mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return log_ratio.exp().clamp(max=limit)
