"""One run: a setting and a seed to a curve, with the trainer's own experience, update and monitor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from trainer.backend import Whole
from trainer.config import GroupsConfig, PPOConfig
from trainer.experience import Experience, gather
from trainer.grouping import Grouping
from trainer.learner import Learner
from trainer.models import RewardModel, frozen
from trainer.monitor import CollapseAlarm, action_space, reward_distribution
from trainer.reporting import Reporter
from trainer.reproduce.judges import ProxyReward, gold_score
from trainer.reproduce.language import TOPICS, Language, topic
from trainer.reproduce.policy import (
    CPU,
    WHOLE_BATCH,
    critic_of,
    random_policy,
    sample,
    source_nll,
    taught_policy,
)
from trainer.reproduce.preferences import train_reward
from trainer.rollout import Rollout
from trainer.tensors import RunningMoments
from trainer.update import learn

PLAIN = Language()
UNEVEN = Language(loyalty=(0.75, 0.75, 0.0))
"""On the third topic the source does not know what to say: the hard group."""
UNSEEN = Language(loyalty=(0.75, 0.0, 0.45))
"""An easy and a hard topic to train on, and a third that only the judges ask about."""
JUDGED = 384
"""Answers that judge a policy at the start and at the end of a run."""
SIZE: dict[str, Any] = {
    "updates": 80,
    "rollouts": 64,
    "minibatch": 32,
    "micro_batch_tokens": WHOLE_BATCH,
    "lr": 1e-3,
    "critic_lr": 2e-3,
    "kl_stop": 15.0,
    "checkpoint_every": 0,
    "fixed_every": 0,
}
"""What every run has in common: the toy's size, and an alarm that fits answers of a dozen tokens."""
TEXTS = 2000
"""Texts of the source for PPO-ptx."""

Numbers = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """One line of the table: what differs from the trainer's preset, on the plain language."""

    name: str
    preset: Literal["vanilla", "ppo-max"]
    ppo: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    taught: bool = True
    """Starts from the supervised policy; else from random weights."""
    flipped: float | None = None
    """Share of wrong votes behind a learned proxy; None: the scripted proxy."""
    language: Language = PLAIN
    topics: tuple[int, ...] = tuple(range(TOPICS))
    """What the training's prompts ask about; the judges ask about all."""

    def config(self, seed: int, updates: int | None = None) -> PPOConfig:
        """The trainer's configuration of this run."""
        shortened = {} if updates is None else {"updates": updates}
        return PPOConfig(**{"preset": self.preset, **SIZE, **self.ppo, **shortened, "seed": seed})


class Run(NamedTuple):
    """What a run showed."""

    curve: list[Numbers]
    """One entry an update, its proxy by topic too."""
    start: Numbers
    """The taught policy, whatever this run started from."""
    end: Numbers


def train(setting: Setting, seed: int, reporter: Reporter, updates: int | None = None) -> Run:
    """A whole run. Raises Cancelled when SIGTERM came, DivergedError when a number became NaN."""
    config = setting.config(seed, updates)
    learner, accuracy = _learner(setting, config, seed)
    alarm = CollapseAlarm(config.kl_stop)
    texts = setting.language.texts(TEXTS, f"ptx-{seed}") if config.ptx_coef > 0 else []
    curve = []
    for update in range(config.updates):
        reporter.check_cancelled()
        prompts = setting.language.prompts(config.rollouts, f"{seed}-{update}", setting.topics)
        policy = _llama(learner)
        experience = _read(learner, sample(policy, prompts, seed * 1000 + update), policy, learner.critic)
        space = _numbers(experience) | _by_topic(experience, "proxy", experience.scores)
        fired = float(alarm.look(space) is not None)
        curve.append(space | {"alarm": fired} | learn(learner, experience, update, config, 1.0, texts))
    taught = _taught(setting.language, seed)
    start, end = _judged(learner, taught, setting, seed), _judged(learner, _llama(learner), setting, seed)
    return Run(curve, start | accuracy, end | accuracy)


def _learner(setting: Setting, config: PPOConfig, seed: int) -> tuple[Learner, Numbers]:
    taught = _taught(setting.language, seed)
    policy = copy.deepcopy(taught) if setting.taught else random_policy(seed + 1)
    reward: Any = ProxyReward()
    accuracy: Numbers = {}
    if setting.flipped is not None:
        reward, share = _learned(setting.language, seed, setting.flipped)
        accuracy = {"accuracy": share}
    critic, reference = critic_of(taught, seed), frozen(copy.deepcopy(policy))
    groups = GroupsConfig(**setting.groups)
    return Learner(
        trained_policy=Whole(
            policy, _optimizer(policy, config.lr, setting.optimizer), max_grad_norm=config.max_grad_norm
        ),
        reference=reference,
        trained_critic=Whole(
            critic, _optimizer(critic, config.critic_lr, "adamw"), max_grad_norm=config.max_grad_norm
        ),
        reward_model=cast(RewardModel, reward),
        moments=RunningMoments(),
        kl_coef=config.kl_coef,
        penalty_coef=config.penalty_coef,
        device=CPU,
        grouping=None if groups.source == "off" else Grouping(groups, critic.head.in_features, seed, CPU),
        critic_updates_left=config.critic_pretrain_updates,
    ), accuracy


def _optimizer(model: torch.nn.Module, lr: float, name: str) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr)
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0)


@lru_cache(maxsize=8)
def _taught(language: Language, seed: int) -> LlamaForCausalLM:
    """The supervised policy of a seed: every run of the seed starts from it."""
    return taught_policy(language, seed)


@lru_cache(maxsize=8)
def _learned(language: Language, seed: int, flipped: float) -> tuple[RewardModel, float]:
    return train_reward(_taught(language, seed), language, flipped=flipped, epochs=2, seed=seed)


def _llama(learner: Learner) -> LlamaForCausalLM:
    assert isinstance(learner.policy, LlamaForCausalLM)
    return learner.policy


def _read(
    learner: Learner, rollouts: list[Rollout], policy: LlamaForCausalLM, critic: RewardModel | None
) -> Experience:
    return gather(
        rollouts,
        policy=policy,
        reference=learner.reference,
        critic=critic,
        reward_model=learner.reward_model,
        temperature=1.0,
        max_tokens=WHOLE_BATCH,
        device=CPU,
    )


def _numbers(experience: Experience) -> Numbers:
    """What the monitor sees, and the judges."""
    numbers = action_space(experience) | reward_distribution(experience)
    return numbers | {"proxy": float(experience.scores.mean()), "gold": float(_gold(experience).mean())}


def _by_topic(experience: Experience, name: str, values: Tensor) -> Numbers:
    """Mean of some (B,) for each topic that was asked about."""
    subjects = torch.tensor([topic(rollout.prompt_ids[0]) for rollout in experience.rollouts])
    return {
        f"{name}_{subject}": float(values[subjects == subject].mean())
        for subject in range(TOPICS)
        if bool((subjects == subject).any())
    }


def _gold(experience: Experience) -> Tensor:
    """(B,)"""
    return torch.tensor([gold_score(rollout) for rollout in experience.rollouts])


@torch.no_grad()
def _judged(learner: Learner, policy: LlamaForCausalLM, setting: Setting, seed: int) -> Numbers:
    """A policy on fresh prompts, by topic too, and how well it still speaks like the source."""
    rollouts = sample(policy, setting.language.prompts(JUDGED, f"judged-{seed}"), seed)
    experience = _read(learner, rollouts, policy, None)
    by_topic = _by_topic(experience, "proxy", experience.scores)
    by_topic |= _by_topic(experience, "gold", _gold(experience))
    skill = float(source_nll(policy, setting.language.texts(JUDGED, f"held-out-{seed}")))
    return _numbers(experience) | by_topic | {"source_nll": skill}
