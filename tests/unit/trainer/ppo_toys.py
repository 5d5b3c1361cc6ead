"""A small PPO training for tests: what it is, and a reporter that remembers it."""

from __future__ import annotations

from pathlib import Path

import torch

from store.records import ChatTurn
from trainer.config import GroupsConfig, PPOConfig, RolloutConfig
from trainer.data import Prompt
from trainer.errors import Cancelled
from trainer.experience import Experience
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.rollout import Rollout
from trainer.tensors import response_mask

ROLLOUT = RolloutConfig(engine="transformers", max_new_tokens=8, max_prompt_tokens=256)
PROMPTS: list[Prompt] = [(ChatTurn(role="user", content=f"Say {number}."),) for number in range(6)]


class Remembering(Reporter):
    """A reporter that remembers, and stops the training like SIGTERM after `stop_after` updates."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.said: list[str] = []
        self.stop_after = stop_after

    def metric(self, step: int, of: int | None, values: object) -> None:
        assert isinstance(values, dict)
        self.rows.append(dict(values))
        if step == self.stop_after:
            raise Cancelled

    def log(self, text: str) -> None:
        self.said.append(text)


def train(
    tiny_policy: Path,
    reward_folder: Path,
    work: Path,
    reporter: Remembering | None = None,
    groups: GroupsConfig | None = None,
    ptx: Path | None = None,
    **changes: object,
) -> Remembering:
    settings = {
        "updates": 2,
        "rollouts": 4,
        "minibatch": 4,
        "lr": 1e-3,
        "critic_lr": 1e-3,
        "checkpoint_every": 1,
        "fixed_every": 0,
    }
    reporter = reporter or Remembering()
    train_policy(
        policy=tiny_policy,
        reference=tiny_policy,
        reward_model=reward_folder,
        prompts=PROMPTS,
        work=work,
        out=work / "candidate",
        config=PPOConfig.model_validate(settings | changes),
        rollout=ROLLOUT,
        reporter=reporter,
        groups=groups or GroupsConfig(),
        ptx=ptx,
    )
    return reporter


def timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "samples_per_second"}


def experience_of_two(short: Rollout, long: Rollout) -> Experience:
    mask = response_mask(torch.tensor([2, 7]), 7)
    zeros = torch.zeros(2, 7)
    ended = torch.tensor([True, False])
    return Experience([short, long], mask, ended, zeros, zeros, zeros, zeros + 1.0, zeros, zeros[:, 0])
