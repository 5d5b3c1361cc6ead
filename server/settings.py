"""The server's settings: where from the environment, how from the TOML file."""

from __future__ import annotations

import os
import socket
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import NoDecode, SettingsConfigDict

from store.records import Sampling
from store.settings import ConfigError, StoreSettings, read_sections


class Section(BaseModel):
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
    queue_limit: int = Field(default=64, ge=1)
    """Answers under way in all; more get 429."""
    per_user: int = Field(default=32, ge=1)
    """Answers under way for one person; more get 429."""


class ServerConfig(Section):
    sampling: Sampling = Sampling()
    duel: DuelConfig = DuelConfig()
    engine: EngineConfig = EngineConfig()


class ServerSettings(StoreSettings):
    """Where the server listens and where its engines are."""

    model_config = SettingsConfigDict(env_prefix="HEED_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    engines: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated engine addresses, `unix:///path/engine-1.sock` or `http://host:port`."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated names by which browsers reach this server, beside loopback."""

    def __init__(self, **values: Any) -> None:
        for name in ("engines", "allowed_hosts"):
            text = os.environ.get(f"HEED_{name.upper()}", "")
            values.setdefault(name, tuple(part for part in text.split(",") if part))
        super().__init__(**values)

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
        raise ConfigError(f"{settings.config}: {where}: {first['msg']}") from None
