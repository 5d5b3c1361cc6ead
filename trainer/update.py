"""One PPO-max update: scores to rewards to advantages, then minibatches of critic and policy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.advantages import gae, normalise_scores, shape_rewards
from trainer.config import PPOConfig
from trainer.errors import ModelError
from trainer.experience import Experience, Part, parts, read_critic, read_policy
from trainer.learner import Learner
from trainer.losses import importance_weights, policy_loss, value_loss
from trainer.monitor import finite
from trainer.tensors import explained_variance, masked_mean, whiten

GRADIENT_PART = 4
"""A pass with gradients keeps all it computed, 2 MB a token for a model of 135M: it takes this much less."""
ON_POLICY_LIMIT = 0.1
"""Mean abs(ratio - 1) in the first minibatch of a fresh buffer; bf16 products alone give about 0.01."""


def learn(
    learner: Learner, experience: Experience, update: int, config: PPOConfig, temperature: float
) -> dict[str, float]:
    """Rewards and advantages of an experience, then minibatches of policy and critic; returns the metrics.

    In the first `critic_pretrain_updates` only the critic learns, in passes until it explains enough.

    Raises:
        DivergedError: a score, a loss or a gradient is not finite; no optimiser has stepped on it.
        ModelError: the first minibatch is not on-policy.
    """
    learner.moments.update(finite(experience.scores, "a score"))
    scores = normalise_scores(
        experience.scores,
        experience.ended,
        learner.moments,
        score_clip=config.score_clip,
        missing_eos_penalty=config.missing_eos_penalty,
    )
    mask = experience.mask
    rewards = shape_rewards(
        scores, experience.old_logprobs, experience.ref_logprobs, mask, kl_coef=learner.kl_coef
    )
    advantages, returns = gae(
        rewards, experience.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
    )
    metrics = {
        "reward_mean": float(experience.scores.mean()),
        "reward_std": float(experience.scores.std(correction=0)),
        "explained_variance": explained_variance(experience.values, returns, mask),
        "advantage_abs_mean": float(masked_mean(advantages.abs(), mask)),
        "kl_coef": learner.kl_coef,
        "lr": config.lr,
    }
    if config.advantage_clip > 0:
        advantages = whiten(advantages, mask).clamp(-config.advantage_clip, config.advantage_clip)
    pretrain = update < config.critic_pretrain_updates
    step = Step(learner, experience, advantages, returns, config, temperature, update)
    for epoch in range(config.critic_pretrain_epochs if pretrain else config.epochs):
        metrics |= step.run(epoch, with_policy=not pretrain)
        if pretrain and metrics["critic_explained_variance"] >= config.critic_pretrain_target:
            break
    if config.kl_target > 0:
        learner.kl_coef = adapted(learner.kl_coef, experience, config)
    return metrics


@dataclass
class Step:
    """The minibatches of one pass over an experience."""

    learner: Learner
    experience: Experience
    advantages: Tensor
    """(B, R)"""
    returns: Tensor
    """(B, R)"""
    config: PPOConfig
    temperature: float
    update: int

    def run(self, epoch: int, *, with_policy: bool) -> dict[str, float]:
        """One pass; the means of its losses."""
        order = list(range(len(self.experience)))
        random.Random(f"{self.config.seed}-{self.update}-{epoch}").shuffle(order)
        size = self.config.minibatch
        passes = [
            self._minibatch(order[at : at + size], with_policy=with_policy, fresh=epoch == at == 0)
            for at in range(0, len(order), size)
        ]
        means = {name: sum(one[name] for one in passes) / len(passes) for name in sorted(passes[-1])}
        if with_policy and epoch == 0:
            means["on_policy_gap"] = passes[0]["on_policy_gap"]  # later ones follow a step
        return means

    def _minibatch(self, rows: list[int], *, with_policy: bool, fresh: bool) -> dict[str, float]:
        """One optimiser step of the critic, then one of the policy: never the gradients of both at once."""
        means = self._critic(rows, clip=self.config.value_clip_range if with_policy else 0.0)
        if with_policy:
            means |= self._policy(rows, fresh=fresh)
        return means

    def _parts(self, rows: list[int]) -> Iterator[Part]:
        width, limit = self.experience.mask.shape[1], self.config.micro_batch_tokens // GRADIENT_PART
        return parts(self.experience.rollouts, rows, width, limit, self.learner.device)

    def _critic(self, rows: list[int], *, clip: float) -> dict[str, float]:
        """Clip 0 while only the critic learns: then it may move as far as it must."""
        learner, experience = self.learner, self.experience
        tokens = experience.mask[rows].sum()
        sums = dict.fromkeys(("value_loss", "value_clip_share"), 0.0)
        values = torch.zeros_like(experience.values)
        for part in self._parts(rows):
            new_values = read_critic(learner.critic, part)
            loss, clipped = value_loss(
                new_values,
                experience.values[part.rows],
                self.returns[part.rows],
                part.mask,
                value_clip_range=clip,
            )
            finite(loss / tokens, "the value loss").backward()
            values[part.rows] = new_values.detach()
            sums["value_loss"] += loss.item()
            sums["value_clip_share"] += float(clipped)
        means = {name: total / float(tokens) for name, total in sums.items()}
        means["grad_norm_critic"] = _stepped(
            learner.critic, learner.critic_optimizer, self.config.max_grad_norm
        )
        means["critic_explained_variance"] = explained_variance(
            values[rows], self.returns[rows], experience.mask[rows]
        )
        return means

    def _policy(self, rows: list[int], *, fresh: bool) -> dict[str, float]:
        """`fresh`: no step was taken since the answers were read, so the ratio must be 1."""
        learner = self.learner
        tokens = self.experience.mask[rows].sum()
        sums = dict.fromkeys(("policy_loss", "clip_share", "approx_kl", "on_policy_gap"), 0.0)
        for part in self._parts(rows):
            self._policy_part(part, tokens, sums)
        means = {name: total / float(tokens) for name, total in sums.items()}
        if fresh:
            _check_on_policy(means["on_policy_gap"])
        means["grad_norm_policy"] = _stepped(
            learner.policy, learner.policy_optimizer, self.config.max_grad_norm
        )
        return means

    def _policy_part(self, part: Part, tokens: Tensor, sums: dict[str, float]) -> None:
        """Gradient of the policy's loss over one forward pass."""
        experience, config = self.experience, self.config
        logprobs, entropy = read_policy(
            self.learner.policy, part, self.temperature, entropy_gradient=config.entropy_coef > 0
        )
        old = experience.old_logprobs[part.rows]
        weights = None
        if config.importance_limit > 0:
            weights = importance_weights(
                old, experience.engine_logprobs[part.rows], part.mask, limit=config.importance_limit
            )
        advantages = self.advantages[part.rows]
        surrogate = policy_loss(
            logprobs, old, advantages, part.mask, clip_range=config.clip_range, weights=weights
        )
        loss = surrogate.loss
        if config.entropy_coef > 0:
            loss = loss - config.entropy_coef * (entropy * part.mask).sum()
        finite(loss / tokens, "the policy loss").backward()
        sums["policy_loss"] += loss.item()
        sums["clip_share"] += float(surrogate.clipped)
        sums["approx_kl"] += float(surrogate.approx_kl)
        sums["on_policy_gap"] += float(surrogate.distance)


def adapted(kl_coef: float, experience: Experience, config: PPOConfig) -> float:
    """The adaptive KL controller (arXiv 1909.08593, section 2.2)."""
    kl = float(((experience.old_logprobs - experience.ref_logprobs) * experience.mask).sum(1).mean())
    error = max(-0.2, min(0.2, kl / config.kl_target - 1))
    return kl_coef * (1 + error * len(experience) / config.kl_horizon)


def _check_on_policy(gap: float) -> None:
    """Before the first step the policy is the one that gave the stored log-probabilities: the ratio is 1."""
    if gap > ON_POLICY_LIMIT:
        raise ModelError(
            f"the policy reads its answers twice and finds other log-probabilities (ratio off by {gap:.2f}, "
            f"at most {ON_POLICY_LIMIT:g}). Is dropout on, or a layer random?"
        )


def _stepped(model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradient, step, clear; the norm before the clip."""
    limit = max_norm if max_norm > 0 else float("inf")
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
    finite(norm, "a gradient")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
