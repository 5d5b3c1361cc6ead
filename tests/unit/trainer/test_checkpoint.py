"""Checkpoints are whole or not there, and the newest one counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.errors import CheckpointError


def state(number: float) -> dict[str, Any]:
    return {"policy": {"weight": torch.tensor([number])}, "moments": [3.0, number, 0.5], "kl_coef": 0.05}


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoints") is None


def test_the_newest_comes_back_and_the_older_one_is_gone(tmp_path: Path) -> None:
    for update in (9, 10):  # by number, not by text
        save_checkpoint(tmp_path, update, state(float(update)))
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 10
    assert found[1]["policy"]["weight"].tolist() == [10.0]
    assert found[1]["moments"] == [3.0, 10.0, 0.5]
    assert [path.name for path in tmp_path.iterdir()] == ["000010"]


def test_one_that_fails_half_way_leaves_the_last_one_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 5, state(5.0))

    def full_disk(state: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", full_disk)
    with pytest.raises(CheckpointError, match=r"No space left on device\. The one after update 5 is whole"):
        save_checkpoint(tmp_path, 10, state(10.0))
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["000005"]


def test_what_a_killed_training_left_is_not_taken_and_is_swept_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".tmp-000010-abcd"
    left.mkdir()
    (left / "state.pt").write_bytes(b"half of it")
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, 10, state(10.0))
    assert not left.exists()
