"""Commands of the trainer for a run: its settings, its metrics forwarded, its checkpoints handed over."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from store.records import Stage
from workers.attempt import RunFailed, Work
from workers.child import Metric, run_trainer
from workers.lease import patiently

HAND_OVER_TRIES = 5


async def train_stage(
    work: Work, stage: Stage, arguments: tuple[object, ...], *, command: str = ""
) -> dict[str, Any]:
    """One command of the trainer, the stage's own unless another is named; the stage shows its metrics."""

    async def forward(step: int, of: int | None, values: dict[str, float]) -> None:
        await work.runs.metric(work.claim, stage, step, of, values)

    return await run_command(work, command or stage, arguments, metric=forward)


async def run_command(
    work: Work, command: str, arguments: tuple[object, ...], *, log: str = "", metric: Metric | None = None
) -> dict[str, Any]:
    """The report of one command of the trainer."""
    settings = ["--config", str(work.config), *work.asked.trainer_arguments()]
    words = [*work.settings.start_of(command), *settings, *map(str, arguments)]
    return await run_trainer(words, work.attempt / f"{log or command}.log", work.lease, metric)


async def policy_folder(work: Work, number: int) -> Path:
    version = await patiently(lambda: work.policies.get(number))
    if version is None:
        raise RunFailed(f"policy version {number} is not registered: `make up` publishes the base model")
    return work.policies.folder(version)


def hand_over_checkpoints(work: Work, name: str) -> None:
    """Give this attempt the newest checkpoint of the newest earlier one that has any, as links.

    `name` is the stage's work folder in each attempt.

    Links into a folder of its own, not the same folder: the trainer of a frozen worker may still write into
    its own, and removes old checkpoints while we look. It never writes into one that is complete.
    """
    target = work.attempt / name / "checkpoints"
    for attempt in work.attempts():
        if attempt == work.attempt:
            continue
        for _ in range(HAND_OVER_TRIES):
            found = [path for path in (attempt / name / "checkpoints").glob("*") if path.name[0] != "."]
            newest_first = sorted(found, key=lambda path: path.name, reverse=True)
            if any(_linked(checkpoint, target / checkpoint.name) for checkpoint in newest_first):
                return
            if not found:
                break


def _linked(source: Path, target: Path) -> bool:
    """Link a checkpoint's files; False when it was removed meanwhile. The target is there whole or not."""
    aside = target.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        shutil.copytree(source, aside, copy_function=_link)
        os.rename(aside, target)
    except (FileNotFoundError, shutil.Error):
        shutil.rmtree(aside, ignore_errors=True)
        return False
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(source, target)
