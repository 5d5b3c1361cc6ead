"""Settings of the workers: the environment says where, the TOML how."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from store.dataset.rules import VoteRules
from store.ramp import rising
from store.settings import ConfigError, StoreSettings, read_sections
from store.start_rules import StartRules
from store.statistics.guards import GUARDS, GuardName

Section = TypeVar("Section", bound=BaseModel)

BUNDLED_PROMPTS = Path(__file__).resolve().parent.parent / "trainer" / "prompts.jsonl"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Schedule(StartRules):
    """When a run starts, how long a silent worker keeps it, and how much data it gets."""

    tick_s: float = Field(default=10, gt=0)
    """How often the schedule is looked at."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts after which a run that keeps failing is given up."""
    lease_s: float = Field(default=30, gt=0)
    """A worker that is silent for this long has lost its run; also the pause before the next attempt."""
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of conversations whose pairs judge the reward model and never train it."""
    held_back_share: float = Field(default=0.2, ge=0, le=0.5)
    """Share of the other conversations whose pairs train a second reward model, which only the gates ask, and
    never the first; 0: there is none."""
    min_held_back_pairs: int = Field(default=20, ge=2)
    """Pairs below which nothing is held back: so few teach no second model, and the first needs them more."""
    max_pairs: int = Field(default=2000, ge=2)
    """Preference pairs in a snapshot, newest first."""
    rollout_prompts: int = Field(default=256, ge=1)
    """Prompts that PPO samples answers to: the platform's own first, bundled ones fill up."""
    gate_prompts: int = Field(default=64, ge=1)
    """Prompts that the gate compares versions on; none of them is ever a rollout prompt of the same run."""


_ALLOWED = Field(default=2.0, ge=0)


class Release(_Section):
    """How a passed candidate goes into service."""

    serve_timeout_s: float = Field(default=120, gt=0)
    """Time in which every server must serve the new version; else the pointer goes back."""
    canary_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the conversations that a version gets as a canary before it is active; 0: active at once."""
    canary_max_votes: int = Field(default=1000, ge=1)
    """Decisive votes between canary and active version after which the active one stays."""
    canary_ramp: Annotated[tuple[float, ...], AfterValidator(rising)] = ()
    """Shares that a canary gets one after another in place of `canary_share`, such as 0.05, 0.25, 0.5, 1."""
    canary_ramp_votes: int = Field(default=20, ge=1)
    """Decisive votes on each step of the ramp before the next."""
    guard_failed: float = _ALLOWED
    """A canary ends at once when its odds of a failed answer are surely more than this many times the active
    version's; 0 is off, here and below."""
    guard_slow: float = _ALLOWED
    """The same for a first word that comes late."""
    guard_stopped: float = _ALLOWED
    """For an answer that its reader stops."""
    guard_truncated: float = _ALLOWED
    """For an answer that is cut at the length limit."""
    guard_thumbs_down: float = _ALLOWED
    """For a thumb down."""

    def allowed(self, guard: GuardName) -> float:
        """The odds ratio that this guard puts up with; 0: it is off."""
        return float(getattr(self, f"guard_{guard}"))

    @field_validator(*(f"guard_{name}" for name in GUARDS))
    @classmethod
    def _allows_equal(cls, allowed: float) -> float:
        if 0 < allowed < 1:
            raise ValueError("write 1 or more (1: no worse than the active version), or 0 for off")
        return allowed


class Asking(_Section):
    """What the platform asks people about by itself, in the annotators' queue."""

    duels: int = Field(default=0, ge=0)
    """Duels that wait in the queue after a training: the active version's answers to bundled prompts. 0 is
    off."""
    uncertain_share: float = Field(default=0.5, ge=0, le=1)
    """Share of them that is chosen because the reward models are unsure or of different minds; the others
    are drawn by chance, and only these count in statistics. 0: all by chance."""
    answers: int = Field(default=4, ge=2, le=16)
    """Answers that are drawn to a prompt, of which two are asked about."""


class Opinions(_Section):
    """What the reward model thinks of answers that people voted on; formed while no run is open."""

    every_s: float = Field(default=60, ge=0)
    """Shortest time between two passes over what was voted on since; 0: opinions are never formed."""
    at_once: int = Field(default=64, ge=1)
    """Votes of one pass. A run that becomes due waits for no pass: the pass is stopped and done later."""


class Hacking(_Section):
    """When the reward hacking watch speaks up: scores rise while people like the answers less."""

    versions: int = Field(default=3, ge=1)
    """Newest versions whose duels are judged together."""
    warn_error: float = Field(default=0.05, ge=0, lt=1)
    """Chance of a warning where people like the versions as much as those before; 0: never warn."""
    stop_error: float = Field(default=0.01, ge=0, lt=1)
    """The same for pausing the schedule; 0: never pause."""


class ArchiveSettings(_Section):
    """How the archive is written, and what leaves Redis for it."""

    every_s: float = Field(default=60, gt=0)
    """How often what is new is archived."""
    segment_mib: int = Field(default=64, ge=1)
    """A segment of this size is sealed."""
    seal_hours: float = Field(default=24, gt=0)
    """A segment this old is sealed, however small; texts of deleted conversations leave the archive then."""
    hot_votes: int = Field(default=100_000, ge=1)
    """Entries of the vote log that stay in Redis; older ones are read from the archive."""
    rest_days: float | None = Field(default=30, ge=8)
    """Conversations unchanged for this long leave Redis and are read from the archive; none: never."""


LAUNCHED = ("reward", "ppo")
"""The stages that train, which several processes can share."""


class Environment(StoreSettings):
    """What the environment says: `HEED_DATA`, `HEED_REDIS_URL`, `HEED_CONFIG` and the three below."""

    trainer_command: tuple[str, ...] = (sys.executable, "-m", "trainer")
    """How a stage of the trainer is started, as a JSON list."""
    trainer_launcher: tuple[str, ...] = ()
    """How `reward` and `ppo` are started where they run in several processes, such as
    `["torchrun", "--nproc-per-node", "8", "-m", "trainer"]`; empty is as every other stage."""
    prompts: Path = BUNDLED_PROMPTS
    """JSON lines `{"prompt": [{"role", "content"}, ...]}` that fill up the platform's own prompts."""


@dataclass(frozen=True)
class WorkerSettings:
    """Everything the workers are told."""

    data: Path
    redis_url: str
    config: Path
    trainer_command: tuple[str, ...] = (sys.executable, "-m", "trainer")
    trainer_launcher: tuple[str, ...] = ()
    prompts: Path = BUNDLED_PROMPTS
    votes: VoteRules = field(default_factory=VoteRules)
    schedule: Schedule = field(default_factory=Schedule)
    release: Release = field(default_factory=Release)
    asking: Asking = field(default_factory=Asking)
    opinions: Opinions = field(default_factory=Opinions)
    hacking: Hacking = field(default_factory=Hacking)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)

    def start_of(self, stage: str) -> tuple[str, ...]:
        """The words that start a stage of the trainer."""
        launched = self.trainer_launcher if stage in LAUNCHED else ()
        return (*(launched or self.trainer_command), stage)


def load_settings() -> WorkerSettings:
    """The settings from environment and TOML. Raises ConfigError naming file, field and what is wrong."""
    where = Environment()
    sections = read_sections(where.config)
    return WorkerSettings(
        data=where.data,
        redis_url=where.redis,
        config=where.config,
        trainer_command=where.trainer_command,
        trainer_launcher=where.trainer_launcher,
        prompts=where.prompts,
        votes=_section(VoteRules, where.config, "votes", sections),
        schedule=_section(Schedule, where.config, "schedule", sections),
        release=_section(Release, where.config, "release", sections),
        asking=_section(Asking, where.config, "asking", sections),
        opinions=_section(Opinions, where.config, "opinions", sections),
        hacking=_section(Hacking, where.config, "hacking", sections),
        archive=_section(ArchiveSettings, where.config, "archive", sections),
    )


def _section(kind: type[Section], path: Path, name: str, sections: dict[str, dict[str, Any]]) -> Section:
    try:
        return kind.model_validate(sections.get(name, {}))
    except ValidationError as error:
        first = error.errors()[0]
        name_in_file = ".".join(map(str, first["loc"]))
        known = ", ".join(kind.model_fields)
        raise ConfigError(f"{path}: [{name}] {name_in_file}: {first['msg']} (fields: {known})") from None
