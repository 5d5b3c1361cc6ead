"""What PPO-max trains and what it is measured against: four models, two optimisers, running moments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from trainer.config import PPOConfig
from trainer.models import RewardModel, default_device, load_critic, load_policy, load_reward_model
from trainer.tensors import RunningMoments

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
    device: torch.device

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
        """Goes on from what `state` gave."""
        self.policy.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.policy_optimizer.load_state_dict(state["policy_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.moments = RunningMoments(*state["moments"])
        self.kl_coef = state["kl_coef"]


def make_learner(policy: Path, reference: Path, reward_model: Path, config: PPOConfig) -> Learner:
    """Loads the four models; the critic starts as the reward model."""
    device = default_device()
    trained, critic = load_policy(policy, device), load_critic(reward_model, device)
    return Learner(
        policy=trained,
        reference=frozen(load_policy(reference, device)),
        critic=critic,
        reward_model=frozen(load_reward_model(reward_model, device)),
        policy_optimizer=_optimizer(trained, config.lr),
        critic_optimizer=_optimizer(critic, config.critic_lr),
        moments=RunningMoments(),
        kl_coef=config.kl_coef,
        device=device,
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


def _optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    # eps 1e-5 and no weight decay: "The N Implementation Details of RLHF with PPO".
    return torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0, fused=True
    )
