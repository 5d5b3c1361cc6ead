"""A worker that is told to stop (deploy, restart) gives its run back: that is no failed attempt."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any

from celery.signals import worker_shutting_down

from store.connection import StoreUnavailable, connect
from store.runs import Runs
from workers.settings import load_settings

logger = logging.getLogger(__name__)


def owner() -> str:
    """Who holds a run in this process, `host:pid of the worker:pid`: the worker is the parent."""
    return f"{_host()}:{os.getppid()}:{os.getpid()}"


def give_back(how: str, **_: Any) -> None:
    """What the worker does once it has been stopped at once; one that stops warmly finishes its run first.

    Celery says it when its child processes have ended, so nobody works on the run any more.
    """
    if how != "Cold":
        return
    try:
        asyncio.run(_give_back(f"{_host()}:{os.getpid()}"))
    except StoreUnavailable as error:
        logger.warning("run not given back, its lease runs out instead: %s", error)


async def _give_back(worker: str) -> None:
    redis = connect(load_settings().redis_url)
    try:
        run = await Runs(redis).give_back(worker)
    finally:
        await redis.aclose()
    if run is not None:
        logger.info("gave %s back", run.id)


def _host() -> str:
    return socket.gethostname()


worker_shutting_down.connect(give_back)
