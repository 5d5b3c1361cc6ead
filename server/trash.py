"""Deleted conversations go for good a minute later, whichever server is up then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store.connection import StoreUnavailable
from store.records import now
from store.trash import Trash

EVERY_S = 10.0
log = logging.getLogger("heed.trash")


@asynccontextmanager
async def emptied(trash: Trash) -> AsyncIterator[None]:
    """As long as this is open, texts whose time to undo is over are removed."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_empty(trash))
        try:
            yield
        finally:
            task.cancel()


async def _empty(trash: Trash) -> None:
    while True:
        try:
            if gone := await trash.empty(now()):
                log.info("%d deleted conversations are gone for good", gone)
        except StoreUnavailable as error:
            log.warning("the trash waits: %s", error)
        await asyncio.sleep(EVERY_S)
