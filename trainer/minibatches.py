"""The minibatches of one pass over an experience: gradients of critic and policy, each with its own step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer.backend import Trained
from trainer.config import PPOConfig
from trainer.errors import ModelError
from trainer.experience import Experience, Part, parts, read_critic, read_policy
from trainer.learner import Learner
from trainer.losses import entropy_hinge, importance_weights, policy_loss, value_loss
from trainer.monitor import finite
from trainer.ptx import drawn
from trainer.rollout import Rollout
from trainer.tensors import explained_variance, masked_mean

GRADIENT_PART = 4
"""A pass with gradients keeps all it computed, 2 MB a token for a model of 135M: it takes this much less."""
ON_POLICY_LIMIT = 0.1
"""Mean abs(ratio - 1) in the first minibatch of a fresh buffer; bf16 products alone give about 0.01."""
POLICY_SUMS = ("policy_loss", "clip_share", "approx_kl", "on_policy_gap", "importance_clip_share")


@dataclass
class Pass:
    """One pass over an experience in minibatches."""

    learner: Learner
    experience: Experience
    advantages: Tensor
    """(B, R)"""
    returns: Tensor
    """(B, R)"""
    config: PPOConfig
    temperature: float
    update: int
    texts: Sequence[Rollout] = field(default=())
    """What `ptx_coef` keeps the policy likely to say."""

    def run(self, epoch: int, *, with_policy: bool) -> dict[str, float]:
        """One pass; the means of its losses.

        It ends early when the policy has moved by `approx_kl_stop`; `minibatches_skipped` is how many of the
        update's minibatches, later passes included, are then left out.
        """
        order = list(range(len(self.experience)))
        random.Random(f"{self.config.seed}-{self.update}-{epoch}").shuffle(order)
        size = self.config.minibatch
        starts = range(0, len(order), size)
        passes, moved = [], False
        for at in starts:
            rows = order[at : at + size]
            passes.append(self._minibatch(rows, epoch, with_policy=with_policy, fresh=epoch == at == 0))
            moved = 0 < self.config.approx_kl_stop < passes[-1].get("approx_kl", 0.0)
            if moved:
                break
        means = {name: sum(one[name] for one in passes) / len(passes) for name in sorted(passes[-1])}
        if with_policy:
            left = (self.config.epochs - epoch) * len(starts) - len(passes)
            means["minibatches_skipped"] = float(left) if moved else 0.0
            if epoch == 0:
                means["on_policy_gap"] = passes[0]["on_policy_gap"]  # later ones follow a step
        return means

    @torch.no_grad()
    def kl_from_old(self) -> float:
        """KL(old || new) per token of the policy as it is now, on these answers."""
        learner, total = self.learner, 0.0
        for part in self._answers(list(range(len(self.experience)))):
            logprobs, _ = learner.trained_policy(read_policy, part, self.temperature, learner.precision)
            old = self.experience.old_logprobs[part.rows]
            moved = policy_loss(logprobs, old, torch.zeros_like(old), part.mask, clip_range=0.0)
            total += float(moved.approx_kl) * part.counts
        return learner.ranks.sums({"kl": total})["kl"] / float(self.experience.mask.sum())

    def _minibatch(self, rows: list[int], epoch: int, *, with_policy: bool, fresh: bool) -> dict[str, float]:
        """One optimiser step of the critic, then one of the policy: never the gradients of both at once."""
        means = self._critic(rows, clip=self.config.value_clip_range if with_policy else 0.0)
        if with_policy:
            means |= self._policy(rows, epoch, fresh=fresh)
        return means

    def _parts(self, rollouts: Sequence[Rollout], rows: Sequence[int], width: int) -> Iterator[Part]:
        limit = self.config.micro_batch_tokens // GRADIENT_PART
        return parts(rollouts, rows, width, limit, self.learner.device, self.learner.ranks)

    def _answers(self, rows: list[int]) -> Iterator[Part]:
        return self._parts(self.experience.rollouts, rows, self.experience.mask.shape[1])

    def _critic(self, rows: list[int], *, clip: float) -> dict[str, float]:
        """Clip 0 while only the critic learns: then it may move as far as it must."""
        learner, experience = self.learner, self.experience
        tokens = experience.mask[rows].sum()
        sums = dict.fromkeys(("value_loss", "value_clip_share"), 0.0)
        values = torch.zeros_like(experience.values)
        for part in self._answers(rows):
            new_values, _ = learner.trained_critic(read_critic, part, learner.precision)
            loss, clipped = value_loss(
                new_values,
                experience.values[part.rows],
                self.returns[part.rows],
                part.mask,
                value_clip_range=clip,
            )
            learner.trained_critic.backward(loss / tokens * part.counts)
            if part.counts:
                values[part.rows] = new_values.detach()
                sums["value_loss"] += loss.item()
                sums["value_clip_share"] += float(clipped)
        learner.ranks.add(values)
        means = self._means(sums, tokens, "value_loss")
        means["grad_norm_critic"] = _stepped(learner.trained_critic)
        means["critic_explained_variance"] = explained_variance(
            values[rows], self.returns[rows], experience.mask[rows]
        )
        return means

    def _policy(self, rows: list[int], epoch: int, *, fresh: bool) -> dict[str, float]:
        """`fresh`: no step was taken since the answers were read, so the ratio must be 1."""
        learner, experience = self.learner, self.experience
        tokens = experience.mask[rows].sum()
        old_entropy = masked_mean(experience.entropy[rows], experience.mask[rows])
        sums = dict.fromkeys(POLICY_SUMS, 0.0)
        for part in self._answers(rows):
            self._policy_part(part, tokens, old_entropy, sums)
        means = self._means(sums, tokens, "policy_loss")
        if fresh:
            _check_on_policy(means["on_policy_gap"])
        if self.config.ptx_coef > 0:
            means["ptx_loss"] = self._ptx(f"{self.config.seed}-{self.update}-{epoch}-{rows[0]}")
        means["grad_norm_policy"] = _stepped(learner.trained_policy)
        return means

    def _means(self, sums: dict[str, float], tokens: Tensor, loss: str) -> dict[str, float]:
        """Token means over the ranks. The gradient is not stepped on when the loss is not a number."""
        means = {name: total / float(tokens) for name, total in self.learner.ranks.sums(sums).items()}
        finite(torch.tensor(means[loss]), f"the {loss.replace('_', ' ')}")
        return means

    def _policy_part(self, part: Part, tokens: Tensor, old_entropy: Tensor, sums: dict[str, float]) -> None:
        """Gradient of the policy's loss over one forward pass."""
        experience, config, learner = self.experience, self.config, self.learner
        logprobs, entropy = learner.trained_policy(
            read_policy,
            part,
            self.temperature,
            learner.precision,
            entropy_gradient=config.entropy_coef > 0,
        )
        old = experience.old_logprobs[part.rows]
        weights = None
        if config.importance_limit > 0:
            weights = importance_weights(
                old, experience.engine_logprobs[part.rows], part.mask, limit=config.importance_limit
            )
            clipped = (weights >= config.importance_limit) & part.mask
            sums["importance_clip_share"] += float(clipped.sum()) * part.counts
        surrogate = policy_loss(
            logprobs,
            old,
            self.advantages[part.rows],
            part.mask,
            clip_range=config.clip_range,
            weights=weights,
            penalty_coef=learner.penalty_coef,
            ref_logprobs=experience.ref_logprobs[part.rows] if config.ratio_against == "reference" else None,
        )
        loss = surrogate.loss
        if config.entropy_coef > 0:
            loss = loss + config.entropy_coef * entropy_hinge(
                entropy, old_entropy, part.mask, target=config.entropy_target
            )
        learner.trained_policy.backward(loss / tokens * part.counts)
        if part.counts:
            sums["policy_loss"] += loss.item()
            sums["clip_share"] += float(surrogate.clipped)
            sums["approx_kl"] += float(surrogate.approx_kl)
            sums["on_policy_gap"] += float(surrogate.distance)

    def _ptx(self, key: str) -> float:
        """Adds the gradient of the language-model loss, a token mean over the texts, to the policy's."""
        learner, texts = self.learner, drawn(self.texts, self.config.ptx_batch, key)
        width, total = max(len(text.response_ids) for text in texts), 0.0
        tokens = sum(len(text.response_ids) for text in texts)
        for part in self._parts(texts, range(len(texts)), width):
            logprobs, _ = learner.trained_policy(read_policy, part, 1.0, learner.precision)
            loss = -logprobs.sum() / tokens * part.counts
            learner.trained_policy.backward(self.config.ptx_coef * loss)
            total += loss.item()
        total = learner.ranks.sums({"ptx_loss": total})["ptx_loss"]
        finite(torch.tensor(total), "the pretraining loss")
        return total


def _check_on_policy(gap: float) -> None:
    """Before the first step the policy is the one that gave the stored log-probabilities: the ratio is 1."""
    if gap > ON_POLICY_LIMIT:
        raise ModelError(
            f"the policy reads its answers twice and finds other log-probabilities (ratio off by {gap:.2f}, "
            f"at most {ON_POLICY_LIMIT:g}). Is dropout on, or a layer random?"
        )


def _stepped(trained: Trained[Any]) -> float:
    """Clip the gradient, step, clear; the norm before the clip."""
    norm = trained.step()
    finite(torch.tensor(norm), "a gradient")
    return norm
