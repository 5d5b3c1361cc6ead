"""What PPO-max trains and what it is measured against: four models, two optimisers, running numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trainer.backend import Trained, loading_device, make_trained
from trainer.checkpoint import check_layout
from trainer.config import GroupsConfig, PPOConfig, ScaleConfig
from trainer.flat import reads_flat
from trainer.grouping import Grouping
from trainer.models import (
    Precision,
    RewardModel,
    default_device,
    frozen,
    load_critic,
    load_policy,
    load_reward_model,
)
from trainer.ranks import ALONE, Ranks
from trainer.tensors import RunningMoments
from trainer.trainable import trainable


@dataclass
class Learner:
    """What is trained and what it is measured against."""

    trained_policy: Trained[PreTrainedModel]
    reference: PreTrainedModel
    trained_critic: Trained[RewardModel]
    reward_model: RewardModel
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
    precision: Precision = "bf16"
    flat: bool = False
    """Whether all four models read flat passes."""
    ranks: Ranks = ALONE

    @property
    def policy(self) -> PreTrainedModel:
        """The module; under ZeRO-3 its weights are there only inside a reading by `trained_policy`."""
        return self.trained_policy.model

    @property
    def critic(self) -> RewardModel:
        """The module, as `policy`."""
        return self.trained_critic.model

    @property
    def policy_optimizer(self) -> torch.optim.Optimizer:
        """Of the policy."""
        return self.trained_policy.optimizer

    @property
    def critic_optimizer(self) -> torch.optim.Optimizer:
        """Of the critic."""
        return self.trained_critic.optimizer

    def sharded(self) -> dict[str, Trained[Any]]:
        """What a checkpoint holds in a folder of its own beside `state`: name and model."""
        return {"policy": self.trained_policy, "critic": self.trained_critic}

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs and all ranks have alike, as tensors and numbers."""
        return {
            "layout": self.trained_policy.layout,
            "policy": self.trained_policy.state(),
            "critic": self.trained_critic.state(),
            "moments": [self.moments.count, self.moments.mean, self.moments.m2],
            "reward_model": self.judge(),
            "kl_coef": self.kl_coef,
            "penalty_coef": self.penalty_coef,
            "critic_updates_left": self.critic_updates_left,
            "grouping": self.grouping.state() if self.grouping else None,
        }

    def load(self, state: dict[str, Any], folder: Path | None = None) -> bool:
        """Goes on from what `state` gave; False when it is from a training with another reward model.

        Then the moments and what the critic learned are left behind: they are on another scale. `folder` is
        the checkpoint's, for what is sharded.

        Raises:
            CheckpointError: the checkpoint is laid out for other processes or another ZeRO stage.
        """
        check_layout(state["layout"], self.trained_policy)
        self.trained_policy.load(state["policy"], folder and folder / "policy")
        self.kl_coef = state["kl_coef"]
        self.penalty_coef = state["penalty_coef"]
        if state["reward_model"] != self.judge():
            return False
        self.trained_critic.load(state["critic"], folder and folder / "critic")
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
    scale: ScaleConfig = ScaleConfig(),  # noqa: B008 - immutable
    ranks: Ranks = ALONE,
) -> Learner:
    """Loads the four models; the critic starts as the reward model."""
    device = default_device()
    place = loading_device(scale)
    actor, critic = load_policy(policy, place), load_critic(reward_model, place)
    flat = reads_flat(actor) and reads_flat(critic)
    actor, critic = trainable(actor, scale, config.seed), trainable(critic, scale, config.seed)
    # One after the other: each is in fp32 until it is frozen.
    anchor = load_policy(reference, device)
    flat = flat and reads_flat(anchor)
    anchor = frozen(anchor, scale.precision)
    judge = load_reward_model(reward_model, device)
    flat = flat and reads_flat(judge)
    shared: dict[str, Any] = {"max_grad_norm": config.max_grad_norm, "scale": scale, "ranks": ranks}
    hidden_size = critic.head.in_features
    return Learner(
        trained_policy=make_trained(actor, adamw(actor, config.lr, config.adam_eps), **shared),
        reference=anchor,
        trained_critic=make_trained(
            critic, adamw(critic, config.critic_lr, config.critic_adam_eps), **shared
        ),
        reward_model=frozen(judge, scale.precision),
        moments=RunningMoments(),
        kl_coef=config.kl_coef,
        penalty_coef=config.penalty_coef,
        device=device,
        critic_updates_left=config.critic_pretrain_updates,
        grouping=None if groups.source == "off" else Grouping(groups, hidden_size, config.seed, device),
        precision=scale.precision,
        flat=flat,
        ranks=ranks,
    )


def adamw(model: nn.Module, lr: float, eps: float) -> torch.optim.Optimizer:
    """AdamW over what is trained."""
    # eps 1e-5 by default and no weight decay: "The N Implementation Details of RLHF with PPO".
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learning, lr=lr, betas=(0.9, 0.95), eps=eps, weight_decay=0.0, fused=True)
