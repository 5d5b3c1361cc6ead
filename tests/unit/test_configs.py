"""Every shipped config loads, and `default.toml` says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import ServerConfig, read_config
from store.settings import BUNDLED_CONFIG, StoreSettings
from trainer.config import TrainerConfig
from trainer.config_file import load_config
from workers.settings import (
    ArchiveSettings,
    Asking,
    Hacking,
    Opinions,
    Release,
    Schedule,
    load_settings,
)

CONFIGS = sorted(BUNDLED_CONFIG.parent.glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_CONFIG", str(path))
    read_config(StoreSettings())
    load_settings()
    load_config(path)


def test_default_toml_says_what_the_code_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_CONFIG", str(BUNDLED_CONFIG))
    server = read_config(StoreSettings())
    assert server.model_dump(exclude={"schedule"}) == ServerConfig().model_dump(exclude={"schedule"})
    workers = load_settings()
    assert (workers.schedule, workers.release, workers.asking) == (Schedule(), Release(), Asking())
    assert (workers.opinions, workers.hacking) == (Opinions(), Hacking())
    assert workers.archive == ArchiveSettings()
    assert server.schedule.min_votes == workers.schedule.min_votes
    assert server.release.canary_max_votes == workers.release.canary_max_votes
    assert load_config(BUNDLED_CONFIG) == TrainerConfig()
