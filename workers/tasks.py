"""The Celery tasks: wake-ups that carry an id at most, may be lost and may come twice."""

from __future__ import annotations

import asyncio

from workers import archive, opinions, recipe, schedule
from workers.app import app
from workers.settings import load_settings

WAKE_EXPIRES_S = 3600
OPINIONS_EXPIRE_S = 60


@app.task(name="heed.retrain")  # type: ignore[untyped-decorator]
def retrain(run_id: str) -> None:
    """Work on a run until it ends, is taken over or fails; returns at once when it is not ours to take."""
    asyncio.run(recipe.retrain(run_id, load_settings()))


@app.task(name="heed.tick")  # type: ignore[untyped-decorator]
def tick() -> None:
    """Look at the schedule: start what is due, wake what nobody holds; form opinions where nothing is."""
    for run_id in asyncio.run(schedule.tick(load_settings())):
        retrain.apply_async((run_id,), expires=WAKE_EXPIRES_S)
    if asyncio.run(opinions.due(load_settings())):
        form_opinions.apply_async(expires=OPINIONS_EXPIRE_S)


@app.task(name="heed.opinions")  # type: ignore[untyped-decorator]
def form_opinions() -> None:
    """Ask the reward model about what was voted on since; gives way to a run."""
    asyncio.run(opinions.form(load_settings()))


@app.task(name="heed.archive")  # type: ignore[untyped-decorator]
def keep() -> None:
    """Archive what is new; again at once, behind what else waits, while there is more."""
    if asyncio.run(archive.keep_archive(load_settings())):
        keep.apply_async(expires=WAKE_EXPIRES_S)
