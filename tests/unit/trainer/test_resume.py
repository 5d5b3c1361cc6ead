"""SFT and reward model that were stopped or killed go on from their checkpoint to the same numbers."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.trainer.reward_toys import thumbed, toy_pairs
from trainer.config import RewardConfig, ScaleConfig, SFTConfig
from trainer.errors import Cancelled, CheckpointError, ModelError
from trainer.reporting import Reporter
from trainer.reward import train_reward_model
from trainer.sft import train_sft

FP32 = ScaleConfig(precision="fp32")
LORA = ScaleConfig(precision="fp32", lora_rank=4)
STEPS = 12
CLOCKED = ("seconds", "pairs_per_second")
PROCESSES = multiprocessing.get_context("forkserver")
"""Forks of a process that imported all and computed nothing: threads of OpenMP do not survive a fork."""
PROCESSES.set_forkserver_preload([__name__])


class Told(Reporter):
    """Keeps what does not depend on the clock; may stop like SIGTERM, or tell another process."""

    def __init__(self, stop_after: int | None = None, out: Connection | None = None) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.said: list[str] = []
        self._stop_after, self._out = stop_after, out

    def metric(self, step: int, of: int | None, values: Any) -> None:
        self.rows.append({name: value for name, value in values.items() if name not in CLOCKED})
        if self._out:
            self._out.send(self.rows[-1])
            self._out.recv()  # never a step ahead of who listens
        if step == self._stop_after:
            raise Cancelled

    def log(self, text: str) -> None:
        self.said.append(text)


Training = Callable[[Path, Reporter], object]
"""A whole training into `out` of a folder, with its checkpoints in `work` beside it."""


def reward(
    policy: Path, folder: Path, reporter: Reporter, scale: ScaleConfig = FP32, lr: float = 1e-3
) -> None:
    thumbs = [thumbed(pair, up=index % 2 == 0) for index, pair in enumerate(toy_pairs(4, 5))]
    train_reward_model(
        policy=policy, pairs=toy_pairs(12, 1) + thumbs, held_out=toy_pairs(5, 2), seed_pairs=[],
        out=folder / "out", reporter=reporter, scale=scale, work=folder / "work",
        config=RewardConfig(lr=lr, batch_pairs=4, epochs=3, seed_share=0.0, checkpoint_every=2),
    )  # fmt: skip


def sft(policy: Path, folder: Path, reporter: Reporter, lr: float = 1e-3) -> None:
    texts = folder.parent / "texts.jsonl"
    texts.write_text("".join(f'{{"text": "{number} and {number + 1}"}}\n' for number in range(20)))
    train_sft(
        policy=policy, texts=texts, out=folder / "out", reporter=reporter, work=folder / "work",
        config=SFTConfig(lr=lr, batch_texts=6, epochs=4, checkpoint_every=2),
    )  # fmt: skip


@pytest.fixture(params=["reward", "reward with LoRA", "sft"])
def training(request: pytest.FixtureRequest, tiny_policy: Path) -> Training:
    scale = LORA if "LoRA" in request.param else FP32
    if request.param == "sft":
        return partial(sft, tiny_policy)
    return partial(reward, tiny_policy, scale=scale)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "out" / "model.safetensors")


def test_stopped_and_called_again_it_goes_on_to_the_same_numbers_weights_and_report(
    training: Training, tmp_path: Path
) -> None:
    whole, cut, resumed = Told(), Told(stop_after=7), Told()
    training(tmp_path / "whole", whole)
    with pytest.raises(Cancelled):  # what came after the last checkpoint is lost
        training(tmp_path / "cut", cut)
    assert not (tmp_path / "cut" / "out").exists()
    assert [path.name for path in (tmp_path / "cut" / "work" / "checkpoints").iterdir()] == ["000006"]

    training(tmp_path / "cut", resumed)

    assert "resumed after step 6" in resumed.said
    assert resumed.rows == whole.rows[-len(resumed.rows) :]
    assert 6 <= len(resumed.rows) < len(whole.rows)
    wanted, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    reports = [json.loads((tmp_path / name / "out" / "report.json").read_text()) for name in ("whole", "cut")]
    for report in reports:
        for clocked in ("seconds", "pairs_per_second", "tokens_per_second"):
            report.pop(clocked, None)
    assert reports[0] == reports[1]
    assert reports[0]["steps"] >= STEPS


def started(training: Training, folder: Path) -> tuple[BaseProcess, Connection]:
    """The training in a process of its own, and where its rows come from, each to be taken by `heard`."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=tell, args=(training, folder, there))
    process.start()
    there.close()
    return process, here


def heard(rows: Connection) -> dict[str, float]:
    """The next row; the training goes on. Raises EOFError after the last."""
    row: dict[str, float] = rows.recv()
    rows.send(None)
    return row


def tell(training: Training, folder: Path, out: Connection) -> None:
    training(folder, Told(out=out))


def ended(process: BaseProcess, rows: Connection) -> list[dict[str, float]]:
    """The rows that are left, of a training that ends well."""
    found = []
    with rows:
        while True:
            try:
                found.append(heard(rows))
            except EOFError:
                break
    process.join()
    assert process.exitcode == 0
    return found


def test_killed_at_a_random_step_and_started_again_it_goes_on_bit_for_bit(
    training: Training, tmp_path: Path
) -> None:
    whole = ended(*started(training, tmp_path / "whole"))

    chance = random.SystemRandom()
    at = chance.randint(3, 9)
    process, rows = started(training, tmp_path / "killed")
    with rows:
        seen = [heard(rows) for _ in range(at)]
        time.sleep(chance.uniform(0, 0.05))  # anywhere between two steps, or in a checkpoint
        process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert seen == whole[:at]

    rest = ended(*started(training, tmp_path / "killed"))
    assert rest
    assert rest == whole[-len(rest) :]
    assert len(whole) - len(rest) >= at - 3  # a checkpoint every 2 steps; SFT has a row before its first
    wanted, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


@pytest.mark.parametrize("train", [reward, sft])
def test_a_checkpoint_of_other_settings_is_refused_and_kept(
    tiny_policy: Path, tmp_path: Path, train: Callable[..., None]
) -> None:
    with pytest.raises(Cancelled):
        train(tiny_policy, tmp_path / "cut", Told(stop_after=3))
    with pytest.raises(CheckpointError, match=r"other data or settings.*new --work folder"):
        train(tiny_policy, tmp_path / "cut", Told(), lr=2e-3)
    train(tiny_policy, tmp_path / "cut", Told())


def test_a_checkpoint_of_full_weights_is_no_start_for_adapters(tiny_policy: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        reward(tiny_policy, tmp_path / "cut", Told(stop_after=3))
    with pytest.raises(ModelError, match=r"Set scale\.lora_rank back"):
        reward(tiny_policy, tmp_path / "cut", Told(), LORA)
