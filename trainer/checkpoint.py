"""Checkpoints of a training: written aside, complete or absent, resumed to the same numbers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trainer.backend import Trained
from trainer.errors import CheckpointError
from trainer.models import written_aside
from trainer.ranks import ALONE, Ranks

STATE = "state.pt"


class Checkpoint(NamedTuple):
    """A complete one."""

    update: int
    """Updates done."""
    state: dict[str, Any]
    folder: Path
    """With the shards of each model in training, under its name."""


def save_checkpoint(
    folder: Path,
    update: int,
    state: dict[str, Any],
    sharded: Mapping[str, Trained[Any]] | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Write the state after `update` updates and every rank's shards, then remove the older ones.

    On the disk before it gets its name, so that after a power cut a checkpoint is whole or not there.

    Raises:
        CheckpointError: it cannot be written; the one before it is as it was.
    """
    if ranks.first:
        for left in folder.glob(".tmp-*"):
            shutil.rmtree(left)  # a training that was killed while it wrote; gigabytes each
    with _told_clearly(folder, update):
        with written_aside(folder / f"{update:06d}") if ranks.first else nullcontext(folder) as path:
            aside = ranks.told(path)
            for name, trained in (sharded or {}).items():
                trained.save_shards(aside / name)
            if ranks.first:
                with (aside / STATE).open("wb") as file:
                    torch.save(state, file)
                _sync(aside)
        if ranks.first:
            _sync(folder)
            for older in sorted(folder.glob("[0-9]*"))[:-1]:
                shutil.rmtree(older)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint; None when there is none."""
    found = sorted(folder.glob("[0-9]*"))
    if not found:
        return None
    # Written by this trainer into its own work folder, and tensors and numbers only.
    state = torch.load(
        found[-1] / STATE,
        map_location=_own_device,
        weights_only=True,
    )
    return Checkpoint(int(found[-1].name), state, found[-1])


def _own_device(storage: Any, place: str) -> Any:
    """What lay on a GPU goes to this rank's own; the copy of the last good weights stays on the CPU."""
    return storage if place == "cpu" else storage.cuda()


@contextmanager
def _told_clearly(folder: Path, update: int) -> Iterator[None]:
    """A write that fails becomes the reason, and what to do. torch hides a full disk in a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        kept = sorted(path.name for path in folder.glob("[0-9]*"))
        before = f"The one after update {int(kept[-1])} is whole" if kept else "There is none before it"
        free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0
        raise CheckpointError(
            f"the checkpoint after update {update} cannot be written to {folder}: "
            f"{reason.strerror if isinstance(reason, OSError) else error}. {before}. {free:.0f} MiB are free "
            "there: make room, then start the training again; it goes on where it can."
        ) from error


def _sync(folder: Path) -> None:
    """Makes the files of a folder, and their names, durable."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
