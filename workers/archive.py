"""When the archive is written: a pass every minute, and again at once while there is more."""

from __future__ import annotations

import logging

from store.archive.keep import Limits, keep
from store.archive.manifest import ArchiveError
from store.connection import StoreUnavailable, connect
from store.health import Health
from workers.settings import ArchiveSettings, WorkerSettings

logger = logging.getLogger(__name__)


async def keep_archive(settings: WorkerSettings) -> bool:
    """One pass; whether there is more to do. A folder that is not this site's is logged, and left alone."""
    async with connect(settings.redis_url) as redis:
        try:
            done = await keep(redis, settings.data, limits(settings.archive))
        except StoreUnavailable as error:
            logger.warning("the next pass goes on: %s", error)
            return False
        except ArchiveError as error:
            logger.error("nothing was archived: %s", error)
            await Health(redis).archived(str(error))
            return False
        if done is not None:
            await Health(redis).archived(None)
    return done is not None and done.more


def limits(settings: ArchiveSettings) -> Limits:
    return Limits(
        segment_bytes=settings.segment_mib << 20,
        seal_s=settings.seal_hours * 3600,
        hot_votes=settings.hot_votes,
        rest_s=None if settings.rest_days is None else settings.rest_days * 86400,
    )
