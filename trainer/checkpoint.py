"""Checkpoints of a training: written aside, complete or absent, resumed to the same numbers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from trainer.models import written_aside

STATE = "state.pt"


def save_checkpoint(folder: Path, update: int, state: dict[str, Any]) -> None:
    """Write the state after `update` updates, then remove the older ones.

    On the disk before it gets its name, so that after a power cut a checkpoint is whole or not there.
    """
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left)  # a training that was killed while it wrote; gigabytes each
    with written_aside(folder / f"{update:06d}") as aside, (aside / STATE).open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    _sync_names(folder)
    for older in sorted(folder.glob("[0-9]*"))[:-1]:
        shutil.rmtree(older)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest complete checkpoint: updates done and state; None when there is none."""
    found = sorted(folder.glob("[0-9]*"))
    if not found:
        return None
    # Written by this trainer into its own work folder, and tensors and numbers only.
    return int(found[-1].name), torch.load(found[-1] / STATE, weights_only=True)


def _sync_names(folder: Path) -> None:
    """Makes the folder's list of names durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
