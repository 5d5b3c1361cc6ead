"""Settings: where things are, and which sections the TOML file may have."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from store.settings import BUNDLED_CONFIG, SECTIONS, ConfigError, StoreSettings, read_sections


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEED_DATA", "HEED_REDIS_URL", "HEED_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_DATA", "/srv/heed")
    monkeypatch.setenv("HEED_REDIS_URL", "redis://db:6379/3")
    settings = StoreSettings()
    assert settings.data == Path("/srv/heed")
    assert settings.redis == "redis://db:6379/3"
    assert settings.config == BUNDLED_CONFIG


def test_redis_of_make_up_is_the_default_also_under_an_odd_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_DATA", "/srv/he ed?")
    assert StoreSettings().redis == "unix:///srv/he%20ed%3F/run/redis.sock?db=0"


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert StoreSettings().data == Path("/home/ann/.local/share/heed")
    monkeypatch.setenv("HEED_DATA", "~/volume")
    assert StoreSettings().data == Path("/home/ann/volume")


def test_sections_are_read(tmp_path: Path) -> None:
    path = tmp_path / "heed.toml"
    path.write_text("[duel]\nshare = 0.5\n[ppo]\nkl_coef = 0.1\n")
    assert read_sections(path) == {"duel": {"share": 0.5}, "ppo": {"kl_coef": 0.1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[duels]\nshare = 1", r"\[duels\].*known are.*duel"),
        ("share = 1", r"\[share\]"),
        ("duel = 1", r"written \[duel\]"),
        ("[duel", "not valid TOML"),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "heed.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_sections(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HEED_CONFIG"):
        read_sections(tmp_path / "none.toml")


def test_every_section_of_the_default_file_is_known_by_its_name() -> None:
    assert sorted(SECTIONS) == sorted(tomllib.loads(BUNDLED_CONFIG.read_text()))
