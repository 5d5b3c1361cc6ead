"""Settings: lists from the environment, sections from TOML, unknown keys refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from server.app import _pool
from server.settings import ServerConfig, ServerSettings, read_config
from store.settings import BUNDLED_CONFIG, ConfigError


def settings(folder: Path, toml: str) -> ServerSettings:
    (folder / "config.toml").write_text(toml)
    return ServerSettings(data=folder, config=folder / "config.toml")


def test_engine_addresses_are_a_comma_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_ENGINES", "unix:///run/engine-1.sock, http://gpu:8000,")
    assert ServerSettings().engines == ("unix:///run/engine-1.sock", "http://gpu:8000")


def test_sections_of_others_are_left_to_them(tmp_path: Path) -> None:
    toml = "[ppo]\nkl_coef = 1\n[schedule]\nmin_votes = 7\ntick_s = 1\n[duel]\nshare = 0.25\n"
    config = read_config(settings(tmp_path, toml))
    assert config.duel.share == 0.25
    assert config.schedule.min_votes == 7


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[duel]\nshaer = 1\n", "duel.shaer"),
        ("[duel]\nshare = 2\n", "duel.share"),
        ("[sampling]\ntemperature = nan\n", "sampling.temperature"),
        ("[chat]\nx = 1\n", "chat"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, toml: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(settings(tmp_path, toml))


@pytest.mark.skipif(not BUNDLED_CONFIG.exists(), reason="no bundled configuration in this checkout")
def test_the_bundled_configuration_is_the_defaults() -> None:
    bundled = read_config(ServerSettings(config=BUNDLED_CONFIG))
    assert bundled == ServerConfig()
    sections = tomllib.loads(BUNDLED_CONFIG.read_text())
    assert {"sampling", "duel", "engine"} <= set(sections)


def test_an_engine_token_that_is_no_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_ENGINE_TOKEN", "swordfish")
    with pytest.raises(ValueError, match="engine_token") as refused:
        ServerSettings()
    assert "swordfish" not in str(refused.value)


def test_an_engine_names_its_device_behind_its_address(tmp_path: Path) -> None:
    engines = ("unix:///run/a.sock", "unix:///run/b.sock", "unix:///run/c.sock#gpu1", "https://far:8090")
    pool = _pool(settings(tmp_path, "").model_copy(update={"engines": engines}))
    assert [(one.name, one.device) for one in pool.engines] == [
        ("a", "here"),
        ("b", "here"),
        ("c", "gpu1"),
        ("far:8090", "far:8090"),
    ]
    assert pool.engines[2].client.address == "unix:///run/c.sock"
