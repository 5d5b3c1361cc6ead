"""From scores to advantages: normalised scores, KL-shaped rewards per token, GAE. Pure functions."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trainer.tensors import RunningMoments


def normalise_scores(
    scores: Float[Tensor, " B"],
    ended: Bool[Tensor, " B"],
    moments: RunningMoments,
    *,
    score_clip: float,
    missing_eos_penalty: float,
    score_scaling: bool = False,
) -> Float[Tensor, " B"]:
    """Scores in deviations from their history, clipped (Eq. 18 of arXiv 2307.04964); `moments` already
    holds this batch. `score_clip` 0 leaves them raw, or only divides them by their deviation (scaling,
    section 5.3.1 ibid.). An answer that does not end by itself loses the penalty, in deviations of the scores
    in each case: otherwise running on for ever costs nothing.
    """
    deviation = moments.std
    if score_clip > 0:
        scores, deviation = ((scores - moments.mean) / deviation).clamp(-score_clip, score_clip), 1.0
    elif score_scaling:
        scores, deviation = scores / deviation, 1.0
    return scores - missing_eos_penalty * deviation * (~ended)


def shape_rewards(
    scores: Float[Tensor, " B"],
    old_logprobs: Float[Tensor, "B R"],
    ref_logprobs: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    *,
    kl_coef: float | Float[Tensor, " B"],
) -> Float[Tensor, "B R"]:
    """-kl_coef (old - ref) at every response token, plus the score at the last one (Eq. 19 ibid.).

    One coefficient for all answers, or one each.
    """
    if isinstance(kl_coef, Tensor):
        kl_coef = kl_coef[:, None]
    rewards = -kl_coef * (old_logprobs - ref_logprobs) * mask
    rows = torch.arange(len(scores), device=scores.device)
    last = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    rewards[rows, last] += scores
    return rewards


def gae(
    rewards: Float[Tensor, "B R"],
    values: Float[Tensor, "B R"],
    mask: Bool[Tensor, "B R"],
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R"]]:
    """Generalised advantage estimation (arXiv 1506.02438): advantages and returns; 0 outside the mask.

    The value after the last response token is 0: an answer ends there.
    """
    values = values * mask
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    for step in reversed(range(values.shape[1])):
        next_value = values[:, step + 1] if step + 1 < values.shape[1] else torch.zeros_like(following)
        delta = rewards[:, step] + gamma * next_value - values[:, step]
        following = (delta + gamma * gae_lambda * following) * mask[:, step]
        advantages[:, step] = following
    return advantages, (advantages + values) * mask
