"""Checkpoints of a training: written aside, complete or absent, resumed to the same numbers."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trainer.backend import Trained
from trainer.errors import CheckpointError
from trainer.folders import written_aside
from trainer.ranks import ALONE, Ranks
from trainer.reporting import Reporter

STATE = "state.pt"


class Checkpoint(NamedTuple):
    """A complete one."""

    done: int
    """Updates or steps."""
    state: dict[str, Any]
    folder: Path
    """With the shards of each model in training, under its name."""


def save_checkpoint(
    folder: Path,
    done: int,
    state: dict[str, Any],
    sharded: Mapping[str, Trained[Any]] | None = None,
    ranks: Ranks = ALONE,
    *,
    counted: str = "update",
) -> None:
    """Write the state after `done` updates and every rank's shards, then remove the older ones.

    On the disk before it gets its name, so that after a power cut a checkpoint is whole or not there.

    Args:
        counted: what `done` counts, for the message.

    Raises:
        CheckpointError: it cannot be written; the one before it is as it was.
    """
    if ranks.first:
        for left in folder.glob(".tmp-*"):
            shutil.rmtree(left)  # a training that was killed while it wrote; gigabytes each
    with _told_clearly(folder, f"{counted} {done}"):
        with written_aside(folder / f"{done:06d}") if ranks.first else nullcontext(folder) as path:
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


@dataclass(frozen=True)
class StepCheckpoints:
    """Checkpoints of a training that goes through a fixed list of optimiser steps: SFT, a reward model."""

    work: Path | None
    """None writes none."""
    every: int
    """Steps between two of them; 0 writes none."""
    learned_from: str
    """`fingerprint` of settings and data: with others the list of steps is another one."""
    ranks: Ranks = ALONE

    def resume(self, trained: Trained[Any], reporter: Reporter) -> list[dict[str, float]]:
        """Numbers of the steps that are done; model and optimiser go on from there. Empty at a start.

        Raises:
            CheckpointError: the newest is of other data or settings, or of a training on other processes.
        """
        found = load_checkpoint(self.work / "checkpoints") if self.work else None
        if found is None:
            return []
        if found.state["learned_from"] != self.learned_from:
            raise CheckpointError(
                f"the checkpoint in {found.folder.parent} is of a training with other data or settings. "
                "Start with those it began with, or give a new --work folder."
            )
        check_layout(found.state["layout"], trained)
        trained.load(found.state["model"], found.folder / "model")
        reporter.log(f"resumed after step {found.done}")
        steps: list[dict[str, float]] = found.state["steps"]
        return steps

    def save(self, trained: Trained[Any], steps: list[dict[str, float]]) -> None:
        """Called after each step; writes when one is due. Raises CheckpointError."""
        if self.work is None or self.every == 0 or len(steps) % self.every:
            return
        state = {
            "layout": trained.layout,
            "learned_from": self.learned_from,
            "model": trained.state(),
            "steps": steps,
        }
        save_checkpoint(
            self.work / "checkpoints", len(steps), state, {"model": trained}, self.ranks, counted="step"
        )


def fingerprint(learned_from: Iterable[object]) -> str:
    """A digest of settings and data, by their `repr`."""
    digest = hashlib.sha256()
    for one in learned_from:
        digest.update(repr(one).encode())
    return digest.hexdigest()


def check_layout(held: str, trained: Trained[Any]) -> None:
    """Raises CheckpointError when a checkpoint is laid out for other processes or another ZeRO stage."""
    if held != trained.layout:
        raise CheckpointError(
            f"the checkpoint holds {held}, this training needs {trained.layout}. "
            "Go on with as many processes and the zero_stage it began with, or give a new --work folder."
        )


def _own_device(storage: Any, place: str) -> Any:
    """What lay on a GPU goes to this rank's own; the copy of the last good weights stays on the CPU."""
    return storage if place == "cpu" else storage.cuda()


@contextmanager
def _told_clearly(folder: Path, when: str) -> Iterator[None]:
    """A write that fails becomes the reason, and what to do. torch hides a full disk in a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        kept = sorted(path.name for path in folder.glob("[0-9]*"))
        counted = when.split()[0]
        before = f"The one after {counted} {int(kept[-1])} is whole" if kept else "There is none before it"
        free = shutil.disk_usage(folder).free / 2**20 if folder.exists() else 0
        raise CheckpointError(
            f"the checkpoint after {when} cannot be written to {folder}: "
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
