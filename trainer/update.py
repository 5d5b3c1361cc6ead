"""One PPO-max update: scores to rewards to advantages, then minibatches of critic and policy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainer.advantages import gae, normalise_scores, shape_rewards
from trainer.config import PPOConfig
from trainer.experience import Experience
from trainer.learner import Learner
from trainer.losses import adapted_penalty
from trainer.minibatches import Pass
from trainer.monitor import finite, reward_distribution
from trainer.rollout import Rollout
from trainer.tensors import RunningMoments, explained_variance, masked_mean, whiten


def learn(
    learner: Learner,
    experience: Experience,
    update: int,
    config: PPOConfig,
    temperature: float,
    texts: Sequence[Rollout] = (),
) -> dict[str, float]:
    """Rewards and advantages of an experience, then minibatches of policy and critic; returns the metrics.

    In the first `critic_pretrain_updates` only the critic learns, until it explains a new buffer well enough.
    `texts` are those of PPO-ptx.

    Raises:
        DivergedError: a score, a loss or a gradient is not finite; no optimiser has stepped on it.
        ModelError: the first minibatch is not on-policy.
    """
    mask = experience.mask
    learner.moments.update(finite(experience.scores, "a score"))
    scores = normalise_scores(
        experience.scores,
        experience.ended,
        learner.moments,
        score_clip=config.score_clip,
        missing_eos_penalty=config.missing_eos_penalty,
        score_scaling=config.score_scaling,
    )
    kl_coef = learner.kl_coef * learner.brake
    metrics = reward_distribution(experience) | {
        "score_clip_share": _score_clip_share(experience.scores, learner.moments, config.score_clip),
        "kl_coef": kl_coef,
        "lr": set_learning_rates(learner, update, config),
    }
    grouped = None
    if learner.grouping is not None:
        grouped = learner.grouping.apply(experience, scores, kl_coef, config.seed * 1000 + update)
        metrics |= grouped.metrics
    rewards = shape_rewards(
        grouped.scores if grouped else scores,
        experience.old_logprobs,
        experience.ref_logprobs,
        mask,
        kl_coef=grouped.kl_coef if grouped else kl_coef,
    )
    advantages, returns = gae(
        rewards, experience.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
    )
    metrics |= {
        "explained_variance": explained_variance(experience.values, returns, mask),
        "advantage_abs_mean": float(masked_mean(advantages.abs(), mask)),
    }
    if config.advantage_whiten:
        advantages = whiten(advantages, mask)
    if config.advantage_clip > 0:
        clipped = (advantages.abs() >= config.advantage_clip) & mask
        metrics["advantage_clip_share"] = float(clipped.sum() / mask.sum())
        advantages = advantages.clamp(-config.advantage_clip, config.advantage_clip)
    if grouped and grouped.advantage_factors is not None:
        advantages = advantages * grouped.advantage_factors[:, None]
    metrics |= _minibatches(
        Pass(learner, experience, advantages, returns, config, temperature, update, texts),
        metrics["explained_variance"],
    )
    if learner.grouping is not None:
        metrics |= learner.grouping.learn(experience, scores)
    if config.kl_target > 0:
        learner.kl_coef = adapted(learner.kl_coef, experience, config)
    return metrics


def _minibatches(one: Pass, fresh_explained_variance: float) -> dict[str, float]:
    """The passes of an update: of the critic alone while it is pre-trained, else of critic and policy."""
    learner, config = one.learner, one.config
    metrics: dict[str, float] = {}
    if fresh_explained_variance >= config.critic_pretrain_target:
        learner.critic_updates_left = 0
    if learner.critic_updates_left > 0:
        learner.critic_updates_left -= 1
        for epoch in range(config.critic_pretrain_epochs):
            metrics = one.run(epoch, with_policy=False)
            if metrics["critic_explained_variance"] >= config.critic_pretrain_target:
                break
        return metrics
    for epoch in range(config.epochs):
        metrics |= one.run(epoch, with_policy=True)
        if metrics["minibatches_skipped"]:
            break
    if learner.penalty_coef > 0:
        metrics |= {"penalty_coef": learner.penalty_coef, "penalty_kl": one.kl_from_old()}
        learner.penalty_coef = adapted_penalty(
            learner.penalty_coef, metrics["penalty_kl"], config.penalty_target
        )
    return metrics


def adapted(kl_coef: float, experience: Experience, config: PPOConfig) -> float:
    """The adaptive KL controller (arXiv 1909.08593, section 2.2)."""
    kl = float(((experience.old_logprobs - experience.ref_logprobs) * experience.mask).sum(1).mean())
    error = max(-0.2, min(0.2, kl / config.kl_target - 1))
    return kl_coef * (1 + error * len(experience) / config.kl_horizon)


def learning_rate_factor(update: int, config: PPOConfig) -> float:
    """What both learning rates are multiplied by in an update, counted from 0.

    A line from a tenth to 1 over the warm-up, then 1 or sqrt(warm-up / update), as in MOSS-RLHF.
    """
    warmup = max(1.0, config.warmup_share * config.updates)
    if update < warmup and config.warmup_share > 0:
        return max(0.1, update / warmup)
    return 1.0 if config.lr_decay == "none" else (warmup / max(update, 1)) ** 0.5


def set_learning_rates(learner: Learner, update: int, config: PPOConfig) -> float:
    """Gives both optimisers the learning rates of an update; the policy's, which the brake divides."""
    factor = learning_rate_factor(update, config)
    policy_lr = config.lr * factor / learner.brake
    for optimizer, lr in (
        (learner.policy_optimizer, policy_lr),
        (learner.critic_optimizer, config.critic_lr * factor),
    ):
        for group in optimizer.param_groups:
            group["lr"] = lr
    return policy_lr


def _score_clip_share(scores: Tensor, moments: RunningMoments, limit: float) -> float:
    """Share of the normalised scores at the clip; 0 without one."""
    clipped = ((scores - moments.mean) / moments.std).abs() >= limit
    return float(clipped.float().mean()) if limit > 0 else 0.0
