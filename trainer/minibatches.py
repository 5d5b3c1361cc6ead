"""The minibatches of one pass over an experience: gradients of critic and policy, each with its own step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainer.backend import Trained
from trainer.config import PPOConfig
from trainer.errors import ModelError
from trainer.experience import (
    Experience,
    Part,
    part_of_answers,
    read_critic,
    read_policy,
    token_counts,
    tokens_read,
)
from trainer.learner import Learner
from trainer.losses import entropy_hinge, importance_weights, policy_loss, value_loss
from trainer.monitor import finite
from trainer.ptx import drawn
from trainer.rollout import Rollout
from trainer.tensors import explained_variance, masked_mean

Result = TypeVar("Result")
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
        learner = self.learner

        def one(part: Part) -> float:
            logprobs, _ = learner.trained_policy(read_policy, part, self.temperature, learner.precision)
            old = self.experience.old_logprobs[part.rows]
            moved = policy_loss(logprobs, old, torch.zeros_like(old), part.mask, clip_range=0.0)
            return float(moved.approx_kl) * part.counts

        total = sum(self._answers(learner.trained_policy, one, range(len(self.experience))))
        return learner.ranks.sums({"kl": total})["kl"] / float(self.experience.mask.sum())

    def _minibatch(self, rows: list[int], epoch: int, *, with_policy: bool, fresh: bool) -> dict[str, float]:
        """One optimiser step of the critic, then one of the policy: never the gradients of both at once."""
        means = self._critic(rows, clip=self.config.value_clip_range if with_policy else 0.0)
        if with_policy:
            means |= self._policy(rows, epoch, fresh=fresh)
        return means

    def _each(
        self,
        trained: Trained[Any],
        one: Callable[[Part], Result],
        rollouts: Sequence[Rollout],
        rows: Sequence[int],
        width: int,
    ) -> Iterator[Result]:
        """`one(part)` of each forward pass over some answers, of which several may run at once."""
        flat, limit = self.learner.flat, self.config.micro_batch_tokens // GRADIENT_PART
        lengths, lengths_read = token_counts(rollouts), tokens_read(rollouts, flat=flat)
        for some, counts in self.learner.ranks.passes(rows, lengths, limit):

            def of_rows(few: Sequence[int], counts: bool = counts) -> Result:
                part = part_of_answers(rollouts, few, width, self.learner.device, flat=flat, counts=counts)
                return one(part)

            yield from trained.abreast(of_rows, some, lengths_read, padded=not flat)

    def _answers(
        self, trained: Trained[Any], one: Callable[[Part], Result], rows: Sequence[int]
    ) -> Iterator[Result]:
        return self._each(trained, one, self.experience.rollouts, rows, self.experience.mask.shape[1])

    def _critic(self, rows: list[int], *, clip: float) -> dict[str, float]:
        """Clip 0 while only the critic learns: then it may move as far as it must."""
        learner, experience = self.learner, self.experience
        tokens = experience.mask[rows].sum()
        sums = dict.fromkeys(("value_loss", "value_clip_share"), 0.0)
        values = torch.zeros_like(experience.values)

        def one(part: Part) -> tuple[float, float]:
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
            return loss.item() * part.counts, float(clipped) * part.counts

        for loss, clipped in self._answers(learner.trained_critic, one, rows):
            sums["value_loss"] += loss
            sums["value_clip_share"] += clipped
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

        def one(part: Part) -> dict[str, float]:
            return self._policy_part(part, tokens, old_entropy)

        for found in self._answers(learner.trained_policy, one, rows):
            for name, value in found.items():
                sums[name] += value
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

    def _policy_part(self, part: Part, tokens: Tensor, old_entropy: Tensor) -> dict[str, float]:
        """Gradient of the policy's loss over one forward pass; sums over its tokens."""
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
        if not part.counts:
            return {}
        sums = {
            "policy_loss": loss.item(),
            "clip_share": float(surrogate.clipped),
            "approx_kl": float(surrogate.approx_kl),
            "on_policy_gap": float(surrogate.distance),
        }
        if weights is not None:
            clipped = (weights >= config.importance_limit) & part.mask
            sums["importance_clip_share"] = float(clipped.sum())
        return sums

    def _ptx(self, key: str) -> float:
        """Adds the gradient of the language-model loss, a token mean over the texts, to the policy's."""
        learner, texts = self.learner, drawn(self.texts, self.config.ptx_batch, key)
        width = max(len(text.response_ids) for text in texts)
        tokens = sum(len(text.response_ids) for text in texts)

        def one(part: Part) -> float:
            logprobs, _ = learner.trained_policy(read_policy, part, 1.0, learner.precision)
            loss = -logprobs.sum() / tokens * part.counts
            learner.trained_policy.backward(self.config.ptx_coef * loss)
            return loss.item()

        total = sum(self._each(learner.trained_policy, one, texts, range(len(texts)), width))
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
