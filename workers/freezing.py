"""Step 5 of the loop: the votes that count become a data set, each with its weight."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from store import disk
from store.dataset.checks import cross_fit_path
from store.dataset.choice import unknown
from store.dataset.gather import Position, position_now
from store.dataset.split import NotEnoughData
from store.dataset.trust import CROSS_FIT
from store.settings import read_sections
from workers import snapshot
from workers.attempt import RunFailed, Work, once, write_durably
from workers.commands import policy_folder, train_stage
from workers.lease import patiently
from workers.settings import WorkerSettings
from workers.snapshot import Frozen

POSITION = "position.json"
NOTED = 0.9
"""Whoever weighs less is counted on the run's page."""


async def freeze(work: Work) -> Frozen:
    """5. The votes that count become a data set; the active version becomes the parent."""
    active = await patiently(work.policies.active)
    if active is None:
        raise RunFailed("no policy version is active: `make up` publishes the base model as version 1")
    await asyncio.to_thread(_room, work.settings.data)

    async def step() -> dict[str, Any]:
        await _keep_config(work)
        at = await _position(work)
        try:
            frozen = await _frozen(work, active.number, at)
        except NotEnoughData:
            (work.folder / POSITION).unlink()  # when it is taken up again there may be more
            cross_fit_path(work.settings.data, work.claim.run_id).unlink(missing_ok=True)
            raise
        used = await asyncio.to_thread(snapshot.votes_used, work.folder / "snapshot")
        await patiently(lambda: work.lineage.record(work.claim.run_id, used))
        await patiently(lambda: work.votes.advance("frozen_through", frozen.snapshot.through))
        rules = await patiently(work.rules.changes)
        file = await asyncio.to_thread(read_sections, work.config)
        sections = work.asked.over(rules.shown_in(file))
        await patiently(lambda: work.runs.update(work.claim, snapshot=frozen.snapshot, config=sections))
        return frozen.snapshot.model_dump(mode="json", exclude={"run_id"}) | {
            "parent": frozen.parent,
            "skipped": frozen.skipped,
            "weigh_less": sum(one.weight < NOTED for one in frozen.annotators),
        }

    await once(work, "freeze", step)
    return await asyncio.to_thread(snapshot.read, work.folder / "snapshot")


async def _frozen(work: Work, parent: int, at: Position) -> Frozen:
    """The data set, once it is known how much everybody's votes weigh.

    Nothing is known of somebody new, and in the first run of nobody. Whoever brings much of the data then is
    compared with everybody else first, by what would be the data set if all of it were believed.
    """
    folder = work.folder / "snapshot"
    if (folder / snapshot.MANIFEST).exists():
        return await asyncio.to_thread(snapshot.read, folder)
    found, rules = cross_fit_path(work.settings.data, work.claim.run_id), work.settings.votes
    if rules.trust and not found.exists():
        believed = work.attempt / "believed"
        first = await _freeze_into(believed, work, parent, at)
        if not unknown(first.annotators, rules.unknown_share):
            await asyncio.to_thread(snapshot.publish, believed, folder)
            return await asyncio.to_thread(snapshot.read, folder)
        aside = work.attempt / CROSS_FIT
        arguments = ("--policy", await policy_folder(work, parent), "--data", believed, "--out", aside)
        await train_stage(work, "freeze", arguments, command="cross_fit")
        await asyncio.to_thread(lambda: write_durably(found, aside.read_text()))
    if found.exists():
        before = (run_id for run_id in at.cross_fits if run_id != work.claim.run_id)
        at = at.model_copy(update={"cross_fits": (*before, work.claim.run_id)})
    return await _freeze_into(folder, work, parent, at)


async def _freeze_into(folder: Path, work: Work, parent: int, at: Position) -> Frozen:
    imported = await patiently(work.imports.pairs)
    return await patiently(
        lambda: snapshot.freeze(
            folder,
            run_id=work.claim.run_id,
            parent=parent,
            at=at,
            votes=work.votes,
            conversations=work.conversations,
            queue=work.queue,
            opinions=work.opinions,
            settings=_as_asked(work),
            imported=imported,
        )
    )


def _room(data: Path) -> None:
    """Raises RunFailed: a training that fills the disk would end Redis with it."""
    free, needed = disk.free_bytes(data), disk.training_bytes(data)
    if free < needed:
        raise RunFailed(
            f"{free >> 20} MiB are free in {data}, a training may take {needed >> 20}: make room, then retry"
        )


async def _position(work: Work) -> Position:
    """Where this run cuts the log: every attempt at the same place, whatever was voted meanwhile."""
    path = work.folder / POSITION
    if not path.exists():
        at = await patiently(lambda: position_now(work.votes, work.opinions, work.settings.data))
        await asyncio.to_thread(write_durably, path, at.model_dump_json())
    return Position.model_validate_json(path.read_text())


def _as_asked(work: Work) -> WorkerSettings:
    """The settings, with what whoever asked for the run wants otherwise."""
    schedule = work.settings.schedule.model_copy(update=work.asked.schedule)
    return replace(work.settings, schedule=schedule)


async def _keep_config(work: Work) -> None:
    """The configuration, and what whoever asked for the run wants otherwise, for this and later attempts."""
    work.folder.mkdir(parents=True, exist_ok=True)
    if work.config.exists():
        return
    run = await patiently(lambda: work.runs.get(work.claim.run_id))
    options = await patiently(lambda: work.options.of(run.requested_by if run else ""))
    text = work.settings.config.read_text(encoding="utf-8")
    await asyncio.to_thread(write_durably, work.folder / "options.json", options.model_dump_json())
    await asyncio.to_thread(write_durably, work.config, text)
