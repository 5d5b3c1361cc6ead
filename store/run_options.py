"""What a person wants otherwise in the one training that they asked for."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from store import keys
from store.connection import Redis, available
from store.records import Record


class RunOptions(Record):
    """Settings of one training; None: as the configuration file says.

    The trainer checks its own (`trainer_settings`), the bounds of the others stand here.
    """

    max_pairs: int | None = Field(default=None, ge=2, le=1_000_000)
    """`schedule.max_pairs`: preference pairs in the snapshot, newest first."""
    rollout_prompts: int | None = Field(default=None, ge=1, le=1_000_000)
    """`schedule.rollout_prompts`: prompts that PPO samples answers to."""
    epochs: int | None = None
    """`reward.epochs`: the reward model's passes over the pairs."""
    preset: str | None = Field(default=None, max_length=40, pattern=r"^[a-z-]*$")
    """`ppo.preset`: its values win over the file's."""
    updates: int | None = None
    """`ppo.updates`: policy updates."""

    @property
    def trainer_settings(self) -> dict[str, int | str]:
        """What the trainer is told by `--set`, by option."""
        return {name: value for name in TRAINER if (value := getattr(self, name)) is not None}

    @property
    def schedule(self) -> dict[str, int]:
        """What stands in for fields of `[schedule]`."""
        names = ("max_pairs", "rollout_prompts")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def trainer_arguments(self) -> list[str]:
        """`--set SECTION.FIELD=VALUE` for each of the trainer's settings."""
        said = self.trainer_settings
        return [word for name in said for word in ("--set", f"{TRAINER[name]}={json.dumps(said[name])}")]

    def over(self, sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The file's sections with these in them, as they are shown."""
        merged = {name: dict(fields) for name, fields in sections.items()}
        for option, value in self.trainer_settings.items():
            section, _, field = TRAINER[option].partition(".")
            merged.setdefault(section, {})[field] = value
        if self.schedule:
            merged["schedule"] = merged.get("schedule", {}) | self.schedule
        return merged


TRAINER = {"epochs": "reward.epochs", "preset": "ppo.preset", "updates": "ppo.updates"}
"""Option -> what the trainer calls it."""


class RunOptionsBook:
    """The options of each person's newest request. Raises StoreUnavailable.

    Kept by person, since a person has one request at a time, whether it starts at once or waits.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def keep(self, person: str, options: RunOptions) -> None:
        """In place of those of their last request."""
        with available():
            await self._redis.hset(keys.RUN_OPTIONS, person, options.model_dump_json(exclude_none=True))

    async def of(self, person: str) -> RunOptions:
        """Nothing else than the file says, where the run was not asked for by a person."""
        with available():
            text = await self._redis.hget(keys.RUN_OPTIONS, person)
        return RunOptions.model_validate_json(text) if text else RunOptions()
