"""Several processes and every ZeRO stage train to the numbers of one process, and end as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.scale_runs import RESUMED, SCALES, Rows, runs
from trainer.models import reward_model_from_policy, save_reward_model

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def reward_folder(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    save_reward_model(reward_model_from_policy(tiny_policy, seed=3, pad_token_id=0), folder)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def alone(tiny_policy: Path, reward_folder: Path, work: Path) -> dict[str, Rows]:
    """What one process gives with plain PyTorch."""
    (work / "alone").mkdir()
    return runs(tiny_policy, reward_folder, work / "alone", ("zero 0",))


@pytest.fixture(scope="module")
def together(tiny_policy: Path, reward_folder: Path, work: Path) -> list[dict[str, Rows]]:
    """What two ranks give over gloo, all scales in one start."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = ["-m", "tests.unit.trainer.scale_runs", tiny_policy, reward_folder, work]
    result = subprocess.run(
        [*launcher, *map(str, script)],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=150, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads((work / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("stage", ["ppo", "reward"])
def test_two_processes_give_the_numbers_of_one(
    alone: dict[str, Rows], together: list[dict[str, Rows]], stage: str, scale: str
) -> None:
    wanted, found = alone[f"{stage}, zero 0"], together[0][f"{stage}, {scale}"]
    assert len(found) == len(wanted) > 1
    for one, other in zip(wanted, found, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_all_ranks_report_the_same(together: list[dict[str, Rows]]) -> None:
    assert together[0] == together[1]


@pytest.mark.parametrize("scale", RESUMED)
def test_a_resume_from_shards_continues_bit_for_bit(together: list[dict[str, Rows]], scale: str) -> None:
    assert together[0][f"resumed, {scale}"] == together[0][f"ppo, {scale}"][1:]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("folder", ["whole/candidate", "reward"])
def test_every_stage_exports_whole_safetensors(
    alone: dict[str, Rows], together: list[dict[str, Rows]], work: Path, folder: str, scale: str
) -> None:
    name = scale.replace(", ", "-").replace(" ", "-")
    wanted = load_file(work / "alone" / "zero-0" / folder / "model.safetensors")
    found = load_file(work / name / folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        # bf16 has eight bits; Adam turns a gradient near its epsilon into a step of up to the learning rate.
        torch.testing.assert_close(found[key], tensor, rtol=2**-7, atol=2e-3)
