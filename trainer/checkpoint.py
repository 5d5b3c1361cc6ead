"""Checkpoints of a training: written aside, complete or absent, resumed to the same numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from trainer.models import written_aside


def save_checkpoint(folder: Path, update: int, state: dict[str, Any]) -> None:
    """Write the state after `update` updates, then remove the older ones."""
    with written_aside(folder / f"{update:06d}") as aside:
        torch.save(state, aside / "state.pt")
    for older in sorted(folder.glob("[0-9]*"))[:-1]:
        shutil.rmtree(older)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]] | None:
    """The newest complete checkpoint: updates done and state; None when there is none."""
    found = sorted(folder.glob("[0-9]*"))
    if not found:
        return None
    # Written by this trainer into its own work folder, and tensors and numbers only.
    return int(found[-1].name), torch.load(found[-1] / "state.pt", weights_only=True)
