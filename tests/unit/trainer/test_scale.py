"""Several processes and every ZeRO stage train to the numbers of one process, and end as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.unit.trainer.scale_runs import PLAIN, PPO, RESUMED, SCALES, Rows, reward, runs
from trainer.config import ScaleConfig
from trainer.errors import CheckpointError
from trainer.experience import gather
from trainer.learner import make_learner
from trainer.rollout import Rollout
from trainer.update import learn

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def alone(tiny_policy: Path, reward_folder: Path, work: Path) -> dict[str, Rows]:
    """What one process gives with plain PyTorch."""
    (work / "alone").mkdir()
    return runs(tiny_policy, reward_folder, work / "alone", PLAIN)


@pytest.fixture(scope="module")
def together(tiny_policy: Path, reward_folder: Path, work: Path) -> list[dict[str, Rows]]:
    """What two ranks give over gloo, all scales in one start."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = ["-m", "tests.unit.trainer.scale_runs", tiny_policy, reward_folder, work]
    result = subprocess.run(
        [*launcher, *map(str, script)],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=240, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads((work / f"rank-{rank}.json").read_text()) for rank in range(2)]


def plain(scale: str) -> str:
    """The same without ZeRO."""
    return "lora" if "lora" in scale else "zero 0"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("stage", ["ppo", "reward"])
def test_two_processes_give_the_numbers_of_one(
    alone: dict[str, Rows], together: list[dict[str, Rows]], stage: str, scale: str
) -> None:
    wanted, found = alone[f"{stage}, {plain(scale)}"], together[0][f"{stage}, {scale}"]
    assert len(found) == len(wanted) > 1
    for one, other in zip(wanted, found, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-4)


def test_all_ranks_report_the_same(together: list[dict[str, Rows]]) -> None:
    assert together[0] == together[1]


@pytest.mark.parametrize("scale", RESUMED)
@pytest.mark.parametrize(("stage", "done"), [("ppo", 1), ("reward", 2)])
def test_a_resume_from_shards_continues_bit_for_bit(
    together: list[dict[str, Rows]], stage: str, done: int, scale: str
) -> None:
    assert together[0][f"resumed {stage}, {scale}"] == together[0][f"{stage}, {scale}"][done:]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("folder", ["whole/candidate", "reward"])
def test_every_stage_exports_whole_safetensors(
    alone: dict[str, Rows], together: list[dict[str, Rows]], work: Path, folder: str, scale: str
) -> None:
    name, plain_name = (one.replace(", ", "-").replace(" ", "-") for one in (scale, plain(scale)))
    wanted = load_file(work / "alone" / plain_name / folder / "model.safetensors")
    found = load_file(work / name / folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        # bf16 has eight bits; Adam turns a gradient near its epsilon into a step of up to the learning rate.
        torch.testing.assert_close(found[key], tensor, rtol=2**-7, atol=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fp32_has_no_autocast_in_any_layer_of_any_model(
    tiny_policy: Path,
    reward_folder: Path,
    tmp_path: Path,
    precision: Literal["fp32", "bf16"],
) -> None:
    seen: set[bool] = set()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: (
            seen.add(torch.is_autocast_enabled("cpu"))
            if isinstance(module, torch.nn.Linear)
            and module.out_features > 2  # score and group heads are fp32
            else None
        )
    )
    scale = ScaleConfig(precision=precision)
    try:
        learner = make_learner(tiny_policy, tiny_policy, reward_folder, PPO, scale=scale)
        answer = Rollout([1, 2, 3], [40, 41], [0.0] * 2, True)
        experience = gather(
            [answer], policy=learner.trained_policy, reference=learner.reference,
            critic=learner.trained_critic, reward_model=learner.reward_model, temperature=1.0,
            max_tokens=100, device=learner.device, precision=precision,
        )  # fmt: skip
        learn(learner, experience, 0, PPO, 1.0, [answer] * 3)
        reward(tiny_policy, tmp_path / "reward", scale)
    finally:
        hook.remove()
    assert (True in seen) is (precision == "bf16")
    frozen = {parameter.dtype for parameter in learner.reference.parameters()}
    assert (torch.bfloat16 in frozen) is (precision == "bf16")


def test_a_checkpoint_of_another_layout_is_refused(tiny_policy: Path, reward_folder: Path) -> None:
    learner = make_learner(tiny_policy, tiny_policy, reward_folder, PPO)
    other = learner.state() | {"layout": "shards of zero_stage 2 on 4 processes"}
    with pytest.raises(CheckpointError, match=r"holds shards of zero_stage 2 on 4 .* whole weights"):
        learner.load(other)


@pytest.mark.parametrize(("stage", "offload"), [(0, "optimizer"), (2, "weights")])
def test_an_offload_that_its_stage_cannot_do_is_refused(stage: int, offload: str) -> None:
    with pytest.raises(ValidationError, match=f'"{offload}" needs zero_stage'):
        ScaleConfig.model_validate({"zero_stage": stage, "offload": offload})
