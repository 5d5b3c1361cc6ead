"""What PPO-max trains and what it is measured against: four models, two optimisers, running numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from trainer.config import GroupsConfig, PPOConfig, ScaleConfig
from trainer.grouping import Grouping
from trainer.lora import load_trained, trained_weights
from trainer.models import RewardModel, default_device, load_critic, load_policy, load_reward_model
from trainer.tensors import RunningMoments
from trainer.trainable import trainable

Model = TypeVar("Model", bound=nn.Module)


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
    penalty_coef: float
    """Weight of PPO-penalty; 0 is off."""
    brake: float = field(default=1.0, kw_only=True)
    """What the alarm's warnings multiply `kl_coef` by and divide the policy's learning rate by."""
    device: torch.device
    grouping: Grouping | None = None
    critic_updates_left: int = 0
    """Updates in which only the critic learns, from here on; 0 once it explains a buffer it has not seen."""

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs, as tensors and numbers."""
        return {
            "policy": trained_weights(self.policy),
            "critic": trained_weights(self.critic),
            "policy_optimizer": self.policy_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "moments": [self.moments.count, self.moments.mean, self.moments.m2],
            "reward_model": self.judge(),
            "kl_coef": self.kl_coef,
            "penalty_coef": self.penalty_coef,
            "critic_updates_left": self.critic_updates_left,
            "grouping": self.grouping.state() if self.grouping else None,
        }

    def load(self, state: dict[str, Any]) -> bool:
        """Goes on from what `state` gave; False when it is from a training with another reward model.

        Then the moments and what the critic learned are left behind: they are on another scale.
        """
        load_trained(self.policy, state["policy"])
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.kl_coef = state["kl_coef"]
        self.penalty_coef = state["penalty_coef"]
        if state["reward_model"] != self.judge():
            return False
        load_trained(self.critic, state["critic"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.critic_updates_left = state["critic_updates_left"]
        self.moments = RunningMoments(*state["moments"])
        if self.grouping and state["grouping"]:
            self.grouping.load(state["grouping"])
        return True

    def judge(self) -> str:
        """Which reward model scores: the digest of its head, which every training of one moves."""
        weights = self.reward_model.head.weight.detach().float().cpu().contiguous()
        return hashlib.sha256(weights.numpy().tobytes()).hexdigest()


def make_learner(
    policy: Path,
    reference: Path,
    reward_model: Path,
    config: PPOConfig,
    groups: GroupsConfig = GroupsConfig(),  # noqa: B008 - immutable
    *,
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
) -> Learner:
    """Loads the four models; the critic starts as the reward model."""
    device = default_device()
    trained = trainable(load_policy(policy, device), scale, config.seed)
    critic = trainable(load_critic(reward_model, device), scale, config.seed)
    return Learner(
        policy=trained,
        reference=frozen(load_policy(reference, device)),
        critic=critic,
        reward_model=frozen(load_reward_model(reward_model, device)),
        policy_optimizer=_optimizer(trained, config.lr, config.adam_eps),
        critic_optimizer=_optimizer(critic, config.critic_lr, config.critic_adam_eps),
        moments=RunningMoments(),
        kl_coef=config.kl_coef,
        penalty_coef=config.penalty_coef,
        device=device,
        critic_updates_left=config.critic_pretrain_updates,
        grouping=None
        if groups.source == "off"
        else Grouping(groups, critic.head.in_features, config.seed, device),
    )


def frozen(model: Model) -> Model:
    """The model without gradients, its matrices in bf16: half the memory and no cast in each forward pass.

    Autocast multiplies in bf16 anyway and published weights are bf16, so no number changes. Embeddings (and a
    head that is tied to them), norms and the score head stay fp32.
    """
    model.requires_grad_(False)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    for part in model.modules():
        if isinstance(part, nn.Linear) and part.out_features > 1 and id(part.weight) not in embeddings:
            part.to(torch.bfloat16)
    return model


def _optimizer(model: nn.Module, lr: float, eps: float) -> torch.optim.Optimizer:
    # eps 1e-5 by default and no weight decay: "The N Implementation Details of RLHF with PPO".
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(learned, lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=0.0, fused=True)
