"""PPO-max: train a policy against a reward model (section 5.4 of arXiv 2307.04964)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.advantages import gae, normalise_scores, shape_rewards
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import PPOConfig, RolloutConfig
from trainer.data import Prompt, load_tokenizer, prompt_ids
from trainer.errors import DataError
from trainer.experience import Experience, gather, parts, read_critic, read_policy
from trainer.losses import importance_weights, policy_loss, value_loss
from trainer.models import (
    RewardModel,
    default_device,
    load_critic,
    load_policy,
    load_reward_model,
    save_policy,
)
from trainer.monitor import CollapseAlarm, action_space, finite
from trainer.reporting import Reporter
from trainer.rollout import Sampler, check_rollouts, make_sampler
from trainer.tensors import RunningMoments, explained_variance, masked_mean, whiten


@dataclass
class Learner:
    """What is trained and what it is measured against."""

    policy: PreTrainedModel
    reference: PreTrainedModel
    critic: RewardModel
    reward_model: RewardModel
    policy_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    moments: RunningMoments
    kl_coef: float
    device: torch.device
    totals: dict[str, float] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs, as tensors and numbers."""
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "policy_optimizer": self.policy_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "moments": [self.moments.count, self.moments.mean, self.moments.m2],
            "kl_coef": self.kl_coef,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.moments = RunningMoments(*state["moments"])
        self.kl_coef = state["kl_coef"]


def train_policy(
    *,
    policy: Path,
    reference: Path,
    reward_model: Path,
    prompts: Sequence[Prompt],
    work: Path,
    out: Path,
    config: PPOConfig,
    rollout: RolloutConfig,
    reporter: Reporter,
) -> dict[str, Any]:
    """Train from `policy` against `reward_model`, held near `reference`; write the candidate to `out`.

    Resumes from the newest checkpoint in `work`. Returns the report, which is also in `work/report.json`.

    Raises:
        DataError: no prompt fits. DivergedError: a number became NaN. Cancelled: SIGTERM.
    """
    began = time.monotonic()
    ids = _prompt_ids(policy, prompts, rollout.max_prompt_tokens)
    sampler = make_sampler(policy, rollout)
    learner = _learner(policy, reference, reward_model, config)
    alarm = CollapseAlarm(config.kl_stop)
    first, metrics, stopped = 0, {}, None
    if found := load_checkpoint(work / "checkpoints"):
        first, state = found
        learner.load(state)
        reporter.log(f"resumed after update {first}")
    for update in range(first, config.updates):
        started = time.monotonic()
        if update > 0:
            sampler.update(learner.policy)
        experience = _collect(sampler, learner, _drawn(ids, update, config), update, config, rollout)
        metrics = action_space(experience)
        if stopped := alarm.look(metrics):
            reporter.log(f"stopped before update {update + 1}: {stopped}")
            break
        metrics |= learn(learner, experience, update, config, rollout.temperature)
        metrics["samples_per_second"] = len(experience) / (time.monotonic() - started)
        reporter.metric(update + 1, config.updates, metrics)
        if config.checkpoint_every and (update + 1) % config.checkpoint_every == 0:
            save_checkpoint(work / "checkpoints", update + 1, learner.state())
    save_policy(learner.policy, policy, out)
    report: dict[str, Any] = metrics | {"updates": config.updates, "seconds": time.monotonic() - began}
    if stopped:
        report["stopped_early"] = stopped
    work.mkdir(parents=True, exist_ok=True)
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def learn(
    learner: Learner, experience: Experience, update: int, config: PPOConfig, temperature: float
) -> dict[str, float]:
    """Steps B to F of one update: rewards, advantages, then minibatches of policy and critic.

    In the first `critic_pretrain_updates` only the critic learns, in passes until it explains enough.
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
        learner.kl_coef = _adapted(learner.kl_coef, experience, config)
    return metrics


@dataclass
class Step:
    """The minibatches of one pass over an experience."""

    learner: Learner
    experience: Experience
    advantages: Tensor
    returns: Tensor
    config: PPOConfig
    temperature: float
    update: int

    def run(self, epoch: int, *, with_policy: bool) -> dict[str, float]:
        """One pass; the means of its losses."""
        order = list(range(len(self.experience)))
        random.Random(f"{self.config.seed}-{self.update}-{epoch}").shuffle(order)
        size = self.config.minibatch
        passes = [self._minibatch(order[at : at + size], with_policy) for at in range(0, len(order), size)]
        names = {name for one in passes for name in one}
        return {name: sum(one[name] for one in passes) / len(passes) for name in sorted(names)}

    def _minibatch(self, rows: list[int], with_policy: bool) -> dict[str, float]:
        """Gradients of both losses over the rows, then one step of each optimiser."""
        learner, experience, config = self.learner, self.experience, self.config
        tokens = experience.mask[rows].sum()
        sums = dict.fromkeys(
            ("policy_loss", "value_loss", "approx_kl", "clip_share", "value_clip_share"), 0.0
        )
        values = torch.zeros_like(experience.values)
        width = experience.mask.shape[1]
        for part in parts(experience.rollouts, rows, width, config.micro_batch_tokens, learner.device):
            new_values = read_critic(learner.critic, part)
            loss, clipped = value_loss(
                new_values,
                experience.values[part.rows],
                self.returns[part.rows],
                part.mask,
                # While only the critic learns it may move as far as it must.
                value_clip_range=config.value_clip_range if with_policy else 0.0,
            )
            finite(loss / tokens, "the value loss").backward()
            values[part.rows] = new_values.detach()
            sums["value_loss"] += loss.item()
            sums["value_clip_share"] += float(clipped)
            if with_policy:
                self._policy_part(part.rows, part, tokens, sums)
        means = {name: total / float(tokens) for name, total in sums.items()}
        means["grad_norm_critic"] = _stepped(learner.critic, learner.critic_optimizer, config.max_grad_norm)
        if with_policy:
            means["grad_norm_policy"] = _stepped(
                learner.policy, learner.policy_optimizer, config.max_grad_norm
            )
        means["critic_explained_variance"] = explained_variance(
            values[rows], self.returns[rows], experience.mask[rows]
        )
        return means

    def _policy_part(self, rows: Tensor, part: Any, tokens: Tensor, sums: dict[str, float]) -> None:
        experience, config = self.experience, self.config
        logprobs, _ = read_policy(self.learner.policy, part, self.temperature)
        old = experience.old_logprobs[rows]
        weights = None
        if config.importance_limit > 0:
            weights = importance_weights(
                old, experience.engine_logprobs[rows], part.mask, limit=config.importance_limit
            )
        loss, clipped, approx_kl = policy_loss(
            logprobs, old, self.advantages[rows], part.mask, clip_range=config.clip_range, weights=weights
        )
        finite(loss / tokens, "the policy loss").backward()
        sums["policy_loss"] += loss.item()
        sums["clip_share"] += float(clipped)
        sums["approx_kl"] += float(approx_kl)


def _prompt_ids(policy: Path, prompts: Sequence[Prompt], limit: int) -> list[list[int]]:
    tokenizer = load_tokenizer(policy)
    ids = []
    for prompt in prompts:
        try:
            ids.append(prompt_ids(tokenizer, prompt, limit))
        except DataError:
            continue
    if not ids:
        raise DataError(f"no prompt fits into rollout.max_prompt_tokens = {limit}; raise it.")
    return ids


def _learner(policy: Path, reference: Path, reward_model: Path, config: PPOConfig) -> Learner:
    device = default_device()
    trained, critic = load_policy(policy, device), load_critic(reward_model, device)
    # eps 1e-5 and no weight decay: "The N Implementation Details of RLHF with PPO".
    return Learner(
        policy=trained,
        reference=load_policy(reference, device).requires_grad_(False),
        critic=critic,
        reward_model=load_reward_model(reward_model, device).requires_grad_(False),
        policy_optimizer=_optimizer(trained, config.lr),
        critic_optimizer=_optimizer(critic, config.critic_lr),
        moments=RunningMoments(),
        kl_coef=config.kl_coef,
        device=device,
    )


def _optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0, fused=True
    )


def _drawn(ids: list[list[int]], update: int, config: PPOConfig) -> list[list[int]]:
    """The update's prompts: each one once before any comes again, in an order of its own each time round."""
    drawn: list[list[int]] = []
    for position in range(update * config.rollouts, (update + 1) * config.rollouts):
        lap, place = divmod(position, len(ids))
        order = list(range(len(ids)))
        random.Random(f"{config.seed}-{lap}").shuffle(order)
        drawn.append(ids[order[place]])
    return drawn


def _collect(
    sampler: Sampler,
    learner: Learner,
    prompts: list[list[int]],
    update: int,
    config: PPOConfig,
    rollout: RolloutConfig,
) -> Experience:
    """Step A: answers of the policy as it is, read by teacher forcing."""
    rollouts = sampler.sample(prompts, seed=config.seed * 1000 + update)
    check_rollouts(rollouts)
    return gather(
        rollouts,
        policy=learner.policy,
        reference=learner.reference,
        critic=learner.critic,
        reward_model=learner.reward_model,
        temperature=rollout.temperature,
        max_tokens=config.micro_batch_tokens,
        device=learner.device,
    )


def _stepped(model: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Clip the gradient, step, clear; the norm before the clip."""
    limit = max_norm if max_norm > 0 else float("inf")
    norm = nn.utils.clip_grad_norm_(model.parameters(), limit)
    finite(norm, "a gradient")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def _adapted(kl_coef: float, experience: Experience, config: PPOConfig) -> float:
    """The adaptive KL controller (arXiv 1909.08593, section 2.2)."""
    kl = float(((experience.old_logprobs - experience.ref_logprobs) * experience.mask).sum(1).mean())
    error = max(-0.2, min(0.2, kl / config.kl_target - 1))
    return kl_coef * (1 + error * len(experience) / config.kl_horizon)
