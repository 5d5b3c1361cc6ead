"""The clock: RedBeat, which goes on after the machine's clock was set back and after Redis was emptied."""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import ScheduleEntry
from redbeat import RedBeatScheduler
from redbeat.schedulers import get_redis

logger = logging.getLogger(__name__)


class Clock(RedBeatScheduler):  # type: ignore[misc]
    """RedBeat keeps when an entry ran and when it is due; ahead of a clock set back by hours, neither comes.

    Here an entry that ran in the future, as the clock now says, is due after one interval; and the lock of a
    beat that died before the jump, whose end lies in the future too, lasts no longer than any other.

    RedBeat writes its entries once, at its start. Here they are written again when they are gone, so that a
    Redis that was emptied, also under a beat that waits its turn, does not leave a clock that never ticks.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        redis = get_redis(app)
        if redis.ttl(self.lock_key) > self.lock_timeout:
            redis.expire(self.lock_key, self.lock_timeout)

    def tick(self, **options: Any) -> float:
        """Sends what is due; the seconds to the next look. A lost lock is taken again, or waited for."""
        if not self.lock.owned():
            logger.warning(
                "the lock is gone: Redis was emptied, or this process stood still; taking it again"
            )
            self.lock.acquire()
        sleep_s: float = super().tick(**options)
        return sleep_s

    @property
    def schedule(self) -> dict[str, ScheduleEntry]:
        """What is due, or will be soon."""
        for name in self.app.conf.beat_schedule:
            entry = self._stored(name)
            if entry is None:
                self.setup_schedule()
            elif entry.last_run_at is not None and entry.last_run_at > entry.default_now():
                entry.reschedule()
        due: dict[str, ScheduleEntry] = super().schedule
        return due

    def _stored(self, name: str) -> Any:
        """The entry as it stands in Redis; None where that, or when it is due, is not there."""
        try:
            entry = self.Entry.from_key(self.Entry.generate_key(self.app, name), app=self.app)
        except KeyError:
            return None
        return entry if entry.rank is not None else None
