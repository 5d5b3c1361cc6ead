"""The calendar: when cron says that a training may start, and the hours in which none starts by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo

from celery.schedules import ParseException, crontab

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def next_fire(cron: str, after: datetime, zone: tzinfo) -> datetime:
    """The first moment after `after` (UTC) that the five cron fields name, read in the zone.

    Raises ValueError when they are no cron line, or name no moment at all.
    """
    schedule = _parsed(cron)
    schedule.nowfun = lambda: after
    start, delta, _ = schedule.remaining_delta(after, tz=zone)
    found: datetime = start + delta
    return found.astimezone(UTC)


def quiet_until(at: datetime, windows: Sequence[str], zone: tzinfo) -> datetime | None:
    """When the quiet hours that hold at `at` end (UTC), through adjoining windows; None: none hold.

    By the zone's clocks: on the night that they are changed a window is an hour shorter or longer.
    """
    spans = [window(text) for text in windows]
    until = at
    for _ in range(2 * len(spans) + 1):  # windows that cover the whole day have no end
        ends = [end for begin, end in spans if _holds(begin, end, until.astimezone(zone).time())]
        if not ends:
            return until if until > at else None
        until = max(_next(end, until, zone) for end in ends)
    return until


def window(text: str) -> tuple[time, time]:
    """`22:00-06:00` as its begin and end. Raises ValueError."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text}` is no time of day; write it as `22:00-06:00`")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    begin, end = time(hour, minute), time(end_hour, end_minute)
    if begin == end:
        raise ValueError(f"`{text}` begins when it ends; pause the schedule to let nothing start")
    return begin, end


def check_cron(text: str) -> None:
    """Raises ValueError that says what a cron line looks like."""
    try:
        next_fire(text, datetime(2000, 1, 1, tzinfo=UTC), UTC)
    except (ValueError, ParseException) as error:
        why = "" if len(text.split()) != 5 else f" ({error})"
        remedy = "write minute, hour, day of month, month and day of week, such as `0 2 * * 1-5`"
        raise ValueError(f"`{text}` is no cron line{why}; {remedy}") from None


def _parsed(text: str) -> crontab:
    return crontab.from_string(text)


def _holds(begin: time, end: time, at: time) -> bool:
    return begin <= at < end if begin < end else at >= begin or at < end


def _next(clock: time, after: datetime, zone: tzinfo) -> datetime:
    """The next time that the zone's clocks show this."""
    today = after.astimezone(zone).date()
    for days in (0, 1):
        found = datetime.combine(today + timedelta(days=days), clock, zone).astimezone(UTC)
        if found > after:
            return found
    return found
