"""Start rules: is a training due, and when will one be? Pure functions of what waits and of the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from store.calendar import next_fire, quiet_until
from store.outlook import Because, Outlook
from store.start_rules import StartRules
from store.statistics.drift import Drift


class Waiting(NamedTuple):
    """What has come since the last training."""

    votes: int
    """Votes for a or b."""
    first: datetime | None
    """When the oldest of them was cast."""
    drift: Drift | None = None


def due(waiting: Waiting, schedule: StartRules, at: datetime) -> Because | None:
    """Why a training should start now, quiet hours aside.

    `votes`: enough wait. `schedule`: one has waited long enough. `calendar`: one waits since before the last
    moment that the calendar names. `drift`: the live reward model does worse on them than it promised.
    """
    if not waiting.votes:
        return None
    if waiting.votes >= schedule.min_votes:
        return "votes"
    for moment, because in _moments(waiting, schedule, at):
        if moment <= at:
            return because
    return "drift" if waiting.drift is not None and waiting.drift.found else None


def outlook(
    waiting: Waiting,
    schedule: StartRules,
    at: datetime,
    canary: int | None = None,
    rules_at: datetime | None = None,
) -> Outlook:
    """What would start the next training, were no vote to come; the dashboard shows it."""
    because = due(waiting, schedule, at)
    moments = [(at, because)] if because else _moments(waiting, schedule, at)
    shifted = [(_after_quiet(moment, schedule), reason) for moment, reason in moments]
    next_at, because = min(shifted, default=(None, None), key=lambda one: one[0])
    return Outlook(
        next_at=next_at,
        because=because,
        quiet_until=quiet(schedule, at),
        canary=canary,
        drift=waiting.drift,
        rules_at=rules_at,
        at=at,
    )


def quiet(schedule: StartRules, at: datetime) -> datetime | None:
    """When the quiet hours end that hold now; None: none do."""
    return quiet_until(at, schedule.quiet_hours, schedule.zone)


def _moments(waiting: Waiting, schedule: StartRules, at: datetime) -> list[tuple[datetime, Because]]:
    """What the clocks name; the calendar also when no vote waits yet, for one may by then."""
    found: list[tuple[datetime, Because]] = []
    if schedule.every_hours is not None and waiting.first is not None:
        found.append((waiting.first + timedelta(hours=schedule.every_hours), "schedule"))
    if schedule.calendar is not None:
        found.append((next_fire(schedule.calendar, waiting.first or at, schedule.zone), "calendar"))
    return found


def _after_quiet(moment: datetime, schedule: StartRules) -> datetime:
    return quiet(schedule, moment) or moment
