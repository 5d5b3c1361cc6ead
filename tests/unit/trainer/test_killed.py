"""A training that was killed, or found its disk full, goes on from its checkpoint to the same numbers."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trainer.config import PPOConfig, RolloutConfig, ScaleConfig
from trainer.data import read_prompts
from trainer.errors import Cancelled, CheckpointError
from trainer.models import reward_model_from_policy, save_reward_model
from trainer.ppo import train_policy
from trainer.reporting import Reporter

PPO = {
    "updates": 9,
    "rollouts": 4,
    "minibatch": 2,
    "epochs": 2,
    "lr": 1e-3,
    "checkpoint_every": 2,
    "fixed_every": 0,
}
ROLLOUT = {"engine": "transformers", "max_new_tokens": 6}
FULL = 500_000
"""Bytes: more than the tiny candidate's file, less than a checkpoint's."""


class Rows(Reporter):
    def __init__(self, stop_after: int | None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._stop_after = stop_after

    def metric(self, step: int, of: int | None, values: Any) -> None:
        self.rows.append(timeless(values))
        if step == self._stop_after:
            raise Cancelled


def timeless(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != "samples_per_second"}


class Case:
    """One training, by the command line, in its own folder."""

    def __init__(self, policy: Path, folder: Path) -> None:
        self.policy, self.folder = policy, folder
        self.reward_model, self.prompts = folder / "rm", folder / "prompts.jsonl"
        self.reward_model.mkdir()
        save_reward_model(reward_model_from_policy(policy, seed=3, pad_token_id=0), self.reward_model)
        turns = [[{"role": "user", "content": f"Say {number}."}] for number in range(6)]
        lines = [json.dumps({"prompt": turn}) + "\n" for turn in turns]
        self.prompts.write_text("".join(lines), encoding="utf-8")

    def start(self, work: str = "work") -> subprocess.Popen[str]:
        settings = {"scale.precision": "fp32"} | _named("ppo", PPO) | _named("rollout", ROLLOUT)
        command = [
            sys.executable, "-m", "trainer", "ppo", "--policy", self.policy, "--reference", self.policy,
            "--reward-model", self.reward_model, "--prompts", self.prompts, "--work", self.folder / work,
            "--out", self.folder / work / "out",
            *(f"--set={name}={value}" for name, value in settings.items()),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)

    def here(self, work: str, stop_after: int | None = None) -> list[dict[str, float]]:
        """The same training in this process; its rows."""
        rows = Rows(stop_after)
        train_policy(
            policy=self.policy, reference=self.policy, reward_model=self.reward_model,
            prompts=read_prompts(self.prompts), work=self.folder / work, out=self.folder / work / "out",
            config=PPOConfig.model_validate(PPO), rollout=RolloutConfig.model_validate(ROLLOUT),
            reporter=rows, scale=ScaleConfig(precision="fp32"),
        )  # fmt: skip
        return rows.rows


def _named(section: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in values.items()}


def events(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    assert process.stdout is not None
    with process.stdout:
        return [json.loads(line) for line in process.stdout]


def metrics(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [timeless(line["values"]) for line in lines if line["event"] == "metric"]


def test_killed_at_a_random_step_and_started_again_it_goes_on_bit_for_bit(
    tiny_policy: Path, tmp_path: Path
) -> None:
    case = Case(tiny_policy, tmp_path)
    # In a process of its own, too: other tests leave this one's libraries rounding in other ways.
    with case.start("whole") as unbroken:
        whole = metrics(events(unbroken))
    assert len(whole) == PPO["updates"]
    chance = random.SystemRandom()
    seen: list[dict[str, float]] = []
    with case.start() as killed:
        assert killed.stdout is not None
        at = chance.randint(3, 5)
        while len(seen) < at:
            seen += metrics([json.loads(killed.stdout.readline())])
        time.sleep(chance.uniform(0, 0.1))  # anywhere between two steps
        killed.kill()
    assert seen == whole[:at]

    with case.start() as resumed:
        lines = events(resumed)
    resumes = [line["text"] for line in lines if line.get("text", "").startswith("resumed after update ")]
    done = int(resumes[0].split()[-1])
    assert resumed.returncode == 0
    assert done >= at - 2
    assert metrics(lines) == whole[done:]


def test_a_full_disk_is_named_and_the_checkpoint_before_it_is_gone_on_from(
    tiny_policy: Path, tmp_path: Path
) -> None:
    case = Case(tiny_policy, tmp_path)
    with pytest.raises(Cancelled):
        case.here("work", stop_after=3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, before[1]))
    try:
        with pytest.raises(
            CheckpointError,
            match=r"update 4 cannot .* File too large\. The one after update 2 is whole",
        ):
            case.here("work")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "work" / "checkpoints").iterdir()] == ["000002"]
    assert case.here("work") == case.here("whole")[2:]
