"""Start rules: what starts a training by itself. The file's, and what people changed of them since."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from store import keys
from store.calendar import check_cron, window
from store.connection import Redis, available
from store.records import AuditEvent, Record, now


class StartRules(BaseModel):
    """The rules that people may change while the loop runs: one check for the file and for the dashboard."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    min_votes: int = Field(default=50, ge=1)
    """New votes for a or b that make a run due."""
    every_hours: float | None = Field(default=None, gt=0)
    """A vote waits at most this long for a run, even when fewer than `min_votes` wait; none: no limit."""
    calendar: str | None = None
    """Five cron fields such as `0 2 * * 1-5`: a vote that waits then starts a run; none: no calendar."""
    drift: float = Field(default=0.1, ge=0, lt=1)
    """A run is due when the live reward model is right on this much less of the new votes than it was on
    held-out pairs (a share), and a test that may be looked at any time is sure of it. 0 is off."""
    quiet_hours: tuple[str, ...] = Field(default=(), max_length=24)
    """Times of day such as `22:00-06:00` in which no run starts by itself. What runs goes on, and a person's
    request does start."""
    time_zone: str = "UTC"
    """Of `calendar` and `quiet_hours`, such as `Europe/Berlin`."""

    @field_validator("calendar")
    @classmethod
    def _is_cron(cls, text: str | None) -> str | None:
        if text is not None:
            check_cron(text)
        return text

    @field_validator("quiet_hours")
    @classmethod
    def _are_windows(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            window(text)
        return texts

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is an OSError
            raise ValueError(f"`{name}` is no time zone; write it as `Europe/Berlin` or `UTC`") from None
        return name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


Rules = TypeVar("Rules", bound=StartRules)


def rules_of(schedule: StartRules) -> StartRules:
    """The rules alone, of a section that holds more."""
    return StartRules.model_validate(schedule.model_dump(include=set(StartRules.model_fields)))


class RuleChange(Record):
    """One rule that somebody set otherwise than the file has it."""

    value: Any
    actor: str
    at: datetime


class RuleChanges(Record):
    """Everything that differs from the file by somebody's hand."""

    rules: dict[str, RuleChange] = Field(default_factory=dict)
    """Name of the rule -> what it is now."""
    at: datetime | None = None
    """When anybody changed one last, back to the file's too; None: nobody ever did."""

    def over(self, file: Rules) -> Rules:
        """The rules that hold: the file's with these in them."""
        changed = {name: rule.value for name, rule in self.rules.items() if name in StartRules.model_fields}
        return type(file).model_validate(dict(file) | changed)

    def shown_in(self, sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The configuration file's sections with these in them, as they are shown."""
        changed = {name: rule.value for name, rule in self.rules.items()}
        return sections | {"schedule": sections.get("schedule", {}) | changed} if changed else sections


# KEYS: rules, audit. ARGV: json as it was read or '', json, audit json.
_WRITE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'event', ARGV[3])
return 1
"""


class StartRulesBook:
    """What people changed of the start rules. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = redis.register_script(_WRITE)

    async def changes(self) -> RuleChanges:
        return _parsed(await self._text())

    async def change(
        self, file: StartRules, wanted: Mapping[str, Any], actor: str, request_id: str | None = None
    ) -> RuleChanges:
        """Set some rules; one that is as in the file again is no change any more. The audit log has it in
        the same step, and nothing is written where nothing differs.

        Raises ValidationError, which names the rule that cannot be so.
        """
        while True:
            text = await self._text()
            known = _parsed(text)
            held = known.over(file)
            held_now = type(held).model_validate(dict(held) | dict(wanted))
            moved = [name for name in wanted if getattr(held_now, name) != getattr(held, name)]
            if not moved:
                return known
            at, said = now(), held_now.model_dump(mode="json")
            rules = dict(known.rules)
            for name in moved:
                rules.pop(name, None)
                if getattr(held_now, name) != getattr(file, name):
                    rules[name] = RuleChange(value=said[name], actor=actor, at=at)
            changed = RuleChanges(rules=rules, at=at)
            was = held.model_dump(mode="json")
            event = AuditEvent(
                actor=actor,
                action="rules_changed",
                object="schedule",
                before={name: was[name] for name in moved},
                after={name: said[name] for name in moved},
                request_id=request_id,
                at=at,
            )
            with available():
                written = await self._write(
                    keys=[keys.START_RULES, keys.AUDIT],
                    args=[text or "", changed.model_dump_json(), event.model_dump_json()],
                )
            if written:
                return changed

    async def as_in_file(self, file: StartRules, actor: str, request_id: str | None = None) -> RuleChanges:
        """Take back every change."""
        return await self.change(file, rules_of(file).model_dump(), actor, request_id)

    async def _text(self) -> str | None:
        with available():
            text: str | None = await self._redis.get(keys.START_RULES)
        return text


def _parsed(text: str | None) -> RuleChanges:
    return RuleChanges.model_validate_json(text) if text else RuleChanges()
