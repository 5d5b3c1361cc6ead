"""The server's settings: where from the environment, how from the TOML file."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import NoDecode, SettingsConfigDict

from store.dataset.rules import VoteRules
from store.records import Sampling
from store.settings import ConfigError, StoreSettings, read_sections
from store.start_rules import StartRules


class Section(BaseModel):
    """Base of the sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DuelConfig(Section):
    """When a message opens a duel."""

    share: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of messages in mode `auto` that open a duel."""


class EngineConfig(Section):
    """How vLLM engines are started and used."""

    max_model_len: int = Field(default=2048, ge=64)
    """Context limit in tokens, prompt and answer together."""
    kv_cache_gib: int = Field(default=1, ge=1)
    """Memory for the KV cache of a CPU engine."""
    max_unavailable: int = Field(default=1, ge=1)
    """Engines that a rolling swap drains or loads at once, while the others answer."""


class QueueConfig(Section):
    """Who waits for an engine, and who may not even wait. Each server counts for itself."""

    places: int = Field(default=64, ge=8)
    """Answers that one engine speaks at once; what comes beyond waits, and the people take turns."""
    per_user: int = Field(default=64, ge=1)
    """Answers under way for one person; more of them wait."""
    length: int = Field(default=256, ge=1)
    """Requests that wait; beyond that whoever has the most of them gets 429."""


class LimitsConfig(Section):
    """How often one person may do something, over all servers; more gets 429. 0 is off."""

    messages_per_minute: int = Field(default=60, ge=0)
    """Messages and new answers on the page."""
    completions_per_minute: int = Field(default=0, ge=0)
    """Requests of an API client. Off: the queue keeps one program from starving the others."""
    votes_per_minute: int = Field(default=60, ge=0)
    """Votes of any kind, repeated ones too."""


class ScheduleShown(StartRules):
    """The start rules, and what the server shows of the workers' section (`workers/settings.py`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    max_pairs: int = 2000
    held_out_share: float = 0.1
    rollout_prompts: int = 256
    gate_prompts: int = 64


class ReleaseShown(BaseModel):
    """What the server shows of the workers' section (`workers/settings.py`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    canary_max_votes: int = Field(default=1000, ge=1)
    """Decisive votes after which a canary is stopped."""
    canary_ramp_votes: int = Field(default=20, ge=1)
    """Decisive votes on each step of a ramp."""


class OpinionsShown(BaseModel):
    """What the server shows of the workers' section (`workers/settings.py`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    every_s: float = 60
    """0: no opinion will ever come."""


class HackingShown(BaseModel):
    """What the server shows of the workers' section (`workers/settings.py`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    versions: int = 3
    """Newest versions that are judged together."""


class ServerConfig(Section):
    """The server's sections of the TOML file."""

    sampling: Sampling = Sampling()
    """How answers are drawn when a request does not say it."""
    duel: DuelConfig = DuelConfig()
    """When a message opens a duel."""
    engine: EngineConfig = EngineConfig()
    """How vLLM engines are started and used."""
    queue: QueueConfig = QueueConfig()
    """Who waits for an engine, and who may not even wait."""
    limits: LimitsConfig = LimitsConfig()
    """How often one person may do something."""
    votes: VoteRules = VoteRules()
    """Which votes train, and how much one person's may weigh."""
    schedule: ScheduleShown = ScheduleShown()
    """The file's, without what people changed (`store/start_rules.py`); the workers act on it."""
    release: ReleaseShown = ReleaseShown()
    """Read only to show it; the workers act on it."""
    opinions: OpinionsShown = OpinionsShown()
    """Read only to know whether opinions come; the workers form them."""
    hacking: HackingShown = HackingShown()
    """Read only to show it; the workers act on it."""


def _split(value: object) -> object:
    """`a, b` -> (a, b), as environment variables write lists."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class ServerSettings(StoreSettings):
    """Where the server listens and where its engines are."""

    model_config = SettingsConfigDict(
        env_prefix="HEED_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8080, ge=1, le=65535)
    """Port to listen on."""
    engines: Addresses = ()
    """Comma-separated engine addresses, `unix:///path/engine-1.sock` or `https://host:port`. `#gpu0` behind
    one names its device: the engines of one device are packed, devices are balanced."""
    engine_token: SecretStr | None = Field(default=None, min_length=24)
    """Secret of the sidecars of engines on other hosts; none: the file `secrets/engine_token` in the data."""
    allowed_hosts: Addresses = ()
    """Comma-separated names by which browsers reach this server, beside `localhost` and IP addresses."""
    web: Path = Path(__file__).resolve().parent.parent / "webui" / "dist"
    """Folder of the built web page."""

    @property
    def server_id(self) -> str:
        """Which replica this is."""
        return f"{socket.gethostname()}:{self.port}"


def read_config(settings: StoreSettings) -> ServerConfig:
    """The server's sections of the TOML file. Raises ConfigError naming section and key."""
    sections = read_sections(settings.config)
    own = {name: sections[name] for name in ServerConfig.model_fields if name in sections}
    try:
        return ServerConfig.model_validate(own)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigError(f"{settings.config}: {where}: {said}") from None
