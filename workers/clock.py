"""The clock: RedBeat, which goes on after the machine's clock was set back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery.beat import ScheduleEntry
from redbeat import RedBeatScheduler
from redbeat.schedulers import get_redis


class Clock(RedBeatScheduler):  # type: ignore[misc]
    """RedBeat keeps when an entry ran and when it is due; ahead of a clock set back by hours, neither comes.

    Here an entry that ran in the future, as the clock now says, is due after one interval; and the lock of a
    beat that died before the jump, whose end lies in the future too, lasts no longer than any other.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        redis = get_redis(app)
        if redis.ttl(self.lock_key) > self.lock_timeout:
            redis.expire(self.lock_key, self.lock_timeout)

    @property
    def schedule(self) -> dict[str, ScheduleEntry]:
        """What is due, or will be soon."""
        for name in self.app.conf.beat_schedule:
            with suppress(KeyError):  # not stored yet
                entry = self.Entry.from_key(self.Entry.generate_key(self.app, name), app=self.app)
                if entry.last_run_at is not None and entry.last_run_at > entry.default_now():
                    entry.reschedule()
        due: dict[str, ScheduleEntry] = super().schedule
        return due
