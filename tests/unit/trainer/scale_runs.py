"""What test_scale starts on several processes: small trainings one after another, each with its own [scale].

Each rank writes what its reporter heard to `rank-N.json` in the work folder.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from store.records import ChatTurn
from tests.unit.trainer.reward_toys import thumbed, toy_pairs
from trainer.config import GroupsConfig, PPOConfig, RewardConfig, RolloutConfig, ScaleConfig
from trainer.data import Prompt
from trainer.errors import Cancelled
from trainer.ppo import train_policy
from trainer.reporting import Reporter
from trainer.reward import train_reward_model

SCALES = {
    "zero 0": ScaleConfig(precision="fp32"),
    "zero 1": ScaleConfig(precision="fp32", zero_stage=1),
    "zero 2": ScaleConfig(precision="fp32", zero_stage=2),
    "zero 3": ScaleConfig(precision="fp32", zero_stage=3),
    "zero 3, offload": ScaleConfig(precision="fp32", zero_stage=3, offload="weights"),
    "lora, zero 2": ScaleConfig(precision="fp32", zero_stage=2, lora_rank=4),
    "lora, zero 3": ScaleConfig(precision="fp32", zero_stage=3, lora_rank=4),
}
PLAIN = {"zero 0": SCALES["zero 0"], "lora": ScaleConfig(precision="fp32", lora_rank=4)}
"""What one process does, to compare with."""
RESUMED = ("zero 2", "zero 3")
"""Also cut after the first checkpoint and gone on with."""
Rows = list[dict[str, float]]
PROMPTS: list[Prompt] = [(ChatTurn(role="user", content=f"Say {'so ' * n}{n}."),) for n in range(7)]
PPO = PPOConfig(
    updates=2, rollouts=5, minibatch=5, epochs=2, lr=1e-3, critic_lr=1e-3, critic_pretrain_updates=0,
    checkpoint_every=1, entropy_coef=0.01, entropy_target=9.0, ptx_coef=0.1, ptx_batch=3,
    # A quarter of it for a pass with gradients: two answers, so that ranks have different numbers of passes.
    micro_batch_tokens=400,
)  # fmt: skip
REWARD = RewardConfig(lr=1e-3, batch_pairs=5, micro_batch_tokens=150, seed_share=0.0, checkpoint_every=2)


class Heard(Reporter):
    """Keeps the metrics that do not depend on the clock."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.rows: Rows = []
        self._stop_after = stop_after

    def metric(self, step: int, of: int | None, values: Any) -> None:
        self.rows.append({name: value for name, value in values.items() if "per_second" not in name})
        if step == self._stop_after:
            raise Cancelled


def ppo(
    policy: Path, reward_model: Path, work: Path, scale: ScaleConfig, stop_after: int | None = None
) -> Rows:
    """The rows of a training, or of the rest of one whose checkpoint is in `work`."""
    reporter = Heard(stop_after)
    work.mkdir(parents=True, exist_ok=True)
    texts = work.parent / f"texts-{os.environ.get('RANK', 0)}.jsonl"
    texts.write_text("".join(f'{{"text": "{word} and more"}}\n' for word in ("one", "two", "three", "four")))
    try:
        train_policy(
            policy=policy, reference=policy, reward_model=reward_model, prompts=PROMPTS, work=work,
            out=work / "candidate", config=PPO, groups=GroupsConfig(source="learned", head_lr=0.1), ptx=texts,
            rollout=RolloutConfig(engine="transformers", max_new_tokens=6), reporter=reporter, scale=scale,
        )  # fmt: skip
    except Cancelled:
        assert stop_after
    return reporter.rows


def reward(policy: Path, out: Path, scale: ScaleConfig, stop_after: int | None = None) -> Rows:
    """The rows of a reward model's training, with thumbs, and its report as the last of them; or of the rest
    of one whose checkpoint is beside `out`."""
    reporter = Heard(stop_after)
    thumbs = [thumbed(pair, up=index % 2 == 0) for index, pair in enumerate(toy_pairs(4, 5))]
    try:
        report = train_reward_model(
            policy=policy, pairs=toy_pairs(12, 1) + thumbs, held_out=toy_pairs(5, 2), seed_pairs=[], out=out,
            config=REWARD, reporter=reporter, previous=None, scale=scale, work=out.with_suffix(".work"),
        )  # fmt: skip
    except Cancelled:
        assert stop_after
        return reporter.rows
    assert report.threshold is not None
    last = {"accuracy": report.held_out.accuracy, "mean": report.score_mean, "threshold": report.threshold}
    return [*reporter.rows, last]


def runs(policy: Path, reward_model: Path, work: Path, scales: dict[str, ScaleConfig]) -> dict[str, Rows]:
    """Every training of these scales, by name."""
    rows: dict[str, Rows] = {}
    for name in scales:
        folder = work / name.replace(", ", "-").replace(" ", "-")
        rows[f"ppo, {name}"] = ppo(policy, reward_model, folder / "whole", scales[name])
        rows[f"reward, {name}"] = reward(policy, folder / "reward", scales[name])
        if name in RESUMED:
            ppo(policy, reward_model, folder / "cut", scales[name], stop_after=2)
            rows[f"resumed ppo, {name}"] = ppo(policy, reward_model, folder / "cut", scales[name])
            reward(policy, folder / "cut-reward", scales[name], stop_after=3)
            rows[f"resumed reward, {name}"] = reward(policy, folder / "cut-reward", scales[name])
    return rows


if __name__ == "__main__":
    import torch
    import torch.distributed

    torch.set_num_threads(1)
    gc.freeze()  # DeepSpeed collects often, and all that was imported with it
    torch.distributed.init_process_group("gloo")
    policy_folder, reward_folder, work_folder = (Path(name) for name in sys.argv[1:4])
    found = runs(policy_folder, reward_folder, work_folder, SCALES)
    (work_folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found), encoding="utf-8")
