"""Where things are (environment, `HEED_*`) and the sections of the one TOML file that says how."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECTIONS = (
    "sampling",
    "duel",
    "engine",
    "queue",
    "limits",
    "votes",
    "schedule",
    "release",
    "asking",
    "opinions",
    "hacking",
    "archive",
    "scale",
    "sft",
    "reward",
    "reward_gate",
    "rollout",
    "ppo",
    "groups",
    "gate",
)

BUNDLED_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "default.toml"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and the remedy."""


class StoreSettings(BaseSettings):
    """Where the shared state lives."""

    model_config = SettingsConfigDict(env_prefix="HEED_", frozen=True, extra="ignore")

    data: Path = Field(default_factory=lambda: Path.home() / ".local" / "share" / "heed")
    """Folder of everything Heed writes (the volume)."""
    redis_url: str = ""
    """Redis, `unix:///path?db=0` or `redis://host:port/0`; empty: the server that `make up` starts."""
    config: Path = BUNDLED_CONFIG
    """The TOML file that says how: sampling, schedule, training."""

    @field_validator("data", "config")
    @classmethod
    def _expand(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def redis(self) -> str:
        """The URL to connect to."""
        return self.redis_url or f"unix://{quote(str(self.data / 'run' / 'redis.sock'))}?db=0"


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """The TOML file's sections. Raises ConfigError: missing, malformed, or an unknown section."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"HEED_CONFIG: there is no file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    for name, section in sections.items():
        if name not in SECTIONS:
            raise ConfigError(f"{path}: unknown section [{name}]; known are {', '.join(SECTIONS)}")
        if not isinstance(section, dict):
            raise ConfigError(f"{path}: {name} must be a section, written [{name}]")
    return sections
