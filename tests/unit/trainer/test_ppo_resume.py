"""PPO that was stopped goes on from its newest checkpoint to the same numbers, the alarm with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.ppo_toys import Remembering, timeless, train
from trainer.config import GroupsConfig
from trainer.errors import Cancelled

EVERYTHING: dict[str, Any] = {
    "kl_target": 1.0, "kl_horizon": 10.0, "penalty_coef": 0.5, "warmup_share": 0.5,
    "lr_decay": "inverse-sqrt", "entropy_coef": 0.01, "entropy_target": 9.0, "ptx_coef": 0.1, "ptx_batch": 2,
    "advantage_whiten": True, "critic_pretrain_updates": 3, "epochs": 2, "minibatch": 2,
    "brake_notches": 3,
}  # fmt: skip


@pytest.mark.parametrize("stop_after", [3, 5])
@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["ppo-max", "everything"])
def test_a_resumed_training_continues_with_the_same_numbers(
    tiny_policy: Path,
    reward_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr("trainer.monitor.repeats", lambda ids: 0.3)  # a warning, so the brake is pulled
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "{word} and more"}}\n' for word in ("one", "two", "three", "four")))
    groups = GroupsConfig(source="learned", head_lr=0.1)
    extra: dict[str, Any] = {"groups": groups, "ptx": texts} if changes else {}
    settings: dict[str, Any] = {"updates": 5, "checkpoint_every": 2} | changes

    def run(folder: str, reporter: Remembering | None = None) -> Remembering:
        return train(tiny_policy, reward_folder, tmp_path / folder, reporter, **extra, **settings)

    whole = run("whole")
    with pytest.raises(Cancelled):  # what came after the last checkpoint is lost
        run("cut", Remembering(stop_after))
    assert not (tmp_path / "cut" / "candidate").exists()
    resumed = run("cut")
    done = stop_after - 1
    assert resumed.said[0] == f"resumed after update {done}"
    assert [timeless(row) for row in resumed.rows] == [timeless(row) for row in whole.rows[done:]]
    weights = [load_file(tmp_path / name / "candidate" / "model.safetensors") for name in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_resume_remembers_the_signs_of_a_collapse(
    tiny_policy: Path, reward_folder: Path, tmp_path: Path
) -> None:
    broken: dict[str, Any] = {
        "lr": 0.3, "max_grad_norm": 0.0, "kl_stop": 1.0, "critic_pretrain_updates": 0, "checkpoint_every": 1,
    }  # fmt: skip
    with pytest.raises(Cancelled):
        train(tiny_policy, reward_folder, tmp_path, Remembering(stop_after=3), updates=9, **broken)
    resumed = train(tiny_policy, reward_folder, tmp_path, updates=9, **broken)
    assert len(resumed.rows) == 1  # the sign of update 2 is remembered: 3 runs again, 4 is not begun
    assert "back to the weights after 0" in resumed.said[-1]
