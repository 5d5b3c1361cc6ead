"""Start rules: which of them is due, what the dashboard says of the next one, and the calendar's clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from store.calendar import next_fire, quiet_until
from store.statistics.drift import drift_of
from workers.settings import Schedule
from workers.start_rules import Waiting, due, outlook

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)  # a Wednesday; Berlin is an hour ahead
HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_each_rule_is_due_when_it_should_be_and_not_before() -> None:
    waits = Waiting(votes=7, first=NOON - 2 * HOUR)
    assert due(waits, Schedule(min_votes=8), NOON) is None
    assert due(waits, Schedule(min_votes=7), NOON) == "votes"
    assert due(waits, Schedule(every_hours=2.01), NOON) is None
    assert due(waits, Schedule(every_hours=2), NOON) == "schedule"
    assert due(waits, Schedule(calendar="30 12 * * *"), NOON) is None
    assert due(waits, Schedule(calendar="30 11 * * *"), NOON) == "calendar"
    assert due(waits, Schedule(calendar="30 9 * * *"), NOON) is None, "the votes came after it"
    everything = Schedule(min_votes=1, every_hours=1, calendar="30 11 * * *")
    assert due(Waiting(0, None), everything, NOON) is None, "nothing waits"


def test_drift_is_due_only_when_the_test_is_sure() -> None:
    """Promised: 0.8 - 0.1 = 0.7 at least. 28 of 40 keeps it, 17 of 40 does not."""
    kept = drift_of(28, 40, held_out_low=0.8, allowed=0.1)
    broken = drift_of(17, 40, held_out_low=0.8, allowed=0.1)
    assert due(Waiting(5, NOON, kept), Schedule(), NOON) is None
    assert due(Waiting(5, NOON, broken), Schedule(), NOON) == "drift"


def test_the_outlook_names_the_first_moment_outside_the_quiet_hours() -> None:
    waits = Waiting(votes=3, first=NOON)
    assert outlook(waits, Schedule(), NOON).next_at is None
    by_time = Schedule(every_hours=6, calendar="0 2 * * *")
    seen = outlook(waits, by_time, NOON)
    assert (seen.next_at, seen.because, seen.quiet_until) == (utc("2026-11-18 18:00"), "schedule", None)
    seen = outlook(waits, by_time.model_copy(update={"quiet_hours": ("17:00-23:00",)}), NOON)
    assert (seen.next_at, seen.because) == (utc("2026-11-18 23:00"), "schedule")
    seen = outlook(waits, by_time.model_copy(update={"quiet_hours": ("17:00-03:00",)}), NOON)
    assert seen.next_at == utc("2026-11-19 03:00")
    seen = outlook(Waiting(0, None), Schedule(calendar="0 2 * * *"), NOON)
    assert (seen.next_at, seen.because) == (utc("2026-11-19 02:00"), "calendar")
    enough = outlook(Waiting(60, NOON), Schedule(quiet_hours=("11:00-13:30",)), NOON)
    assert (enough.next_at, enough.because) == (utc("2026-11-18 13:30"), "votes")
    assert enough.quiet_until == utc("2026-11-18 13:30")


@pytest.mark.parametrize(
    ("at", "windows", "until"),
    [
        ("2026-11-18 20:59", ["22:00-06:00"], None),
        ("2026-11-18 21:00", ["22:00-06:00"], "2026-11-19 05:00"),
        ("2026-11-19 04:59", ["22:00-06:00"], "2026-11-19 05:00"),
        ("2026-11-19 05:00", ["22:00-06:00"], None),
        ("2026-11-18 21:00", ["22:00-00:00", "00:00-06:00"], "2026-11-19 05:00"),
        ("2026-11-18 21:00", ["08:00-09:00", "21:30-23:00"], "2026-11-18 22:00"),
        # The clocks go back at three in the morning of 25 October: the night has an hour more.
        ("2026-10-24 21:00", ["22:00-06:00"], "2026-10-25 05:00"),
        ("2026-10-23 21:00", ["22:00-06:00"], "2026-10-24 04:00"),
    ],
)
def test_quiet_hours_by_the_clocks_of_the_zone(at: str, windows: list[str], until: str | None) -> None:
    assert quiet_until(utc(at), windows, BERLIN) == (utc(until) if until else None)


def test_hours_that_are_always_quiet_have_an_end_nobody_waits_for() -> None:
    assert quiet_until(NOON, ["00:00-12:00", "12:00-00:00"], BERLIN) is not None


def test_the_calendar_is_read_in_its_zone() -> None:
    assert next_fire("0 2 * * 1-5", utc("2026-11-20 12:00"), BERLIN) == utc("2026-11-23 01:00")
    assert next_fire("0 2 * * *", utc("2026-07-01 12:00"), BERLIN) == utc("2026-07-02 00:00")
    assert next_fire("*/15 * * * *", utc("2026-07-01 12:15"), BERLIN) == utc("2026-07-01 12:30")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("calendar", "every night", "is no cron line; write minute, hour"),
        ("calendar", "99 2 * * *", "99 > 59"),
        ("calendar", "0 0 31 2 *", "never occurs"),
        ("quiet_hours", ("22-6",), "write it as `22:00-06:00`"),
        ("quiet_hours", ("24:00-06:00",), "write it as `22:00-06:00`"),
        ("quiet_hours", ("22:00-22:00",), "pause the schedule"),
        ("time_zone", "Berlin", "write it as `Europe/Berlin`"),
        ("time_zone", "../etc", "write it as `Europe/Berlin`"),
    ],
)
def test_a_setting_that_cannot_be_read_names_the_remedy(field: str, value: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        Schedule.model_validate({field: value})
    assert refused.value.errors()[0]["loc"] == (field,)
