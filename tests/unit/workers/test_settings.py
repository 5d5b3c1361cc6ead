"""Settings: sections are read, and what cannot be used is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import ConfigError
from workers.settings import Schedule, load_settings


def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "heed.toml"
    path.write_text(text)
    monkeypatch.setenv("HEED_CONFIG", str(path))


def test_sections_of_the_file_win_over_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(
        monkeypatch, tmp_path, "[schedule]\nmin_votes = 7\n[release]\nserve_timeout_s = 3.5\n[ppo]\nx = 1\n"
    )
    settings = load_settings()
    assert settings.schedule == Schedule(min_votes=7)
    assert settings.release.serve_timeout_s == 3.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[schedule]\nmin_vote = 7\n", r"\[schedule\] min_vote: .* \(fields: min_votes, every_hours"),
        ("[schedule]\nheld_out_share = 1.0\n", r"\[schedule\] held_out_share: .* less than 1"),
        ("[release]\nserve_timeout_s = 0\n", r"\[release\] serve_timeout_s: .* greater than 0"),
        ("[shedule]\n", r"unknown section \[shedule\]"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    configure(monkeypatch, tmp_path, text)
    with pytest.raises(ConfigError, match=said):
        load_settings()


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, "")
    monkeypatch.setenv("HEED_DATA", str(tmp_path))
    monkeypatch.delenv("HEED_REDIS_URL", raising=False)
    monkeypatch.setenv("HEED_TRAINER_COMMAND", '["python", "-m", "trainer"]')
    monkeypatch.setenv("HEED_TRAINER_LAUNCHER", '["torchrun", "--nproc-per-node", "8", "-m", "trainer"]')
    settings = load_settings()
    assert settings.data == tmp_path
    assert settings.redis_url == f"unix://{tmp_path}/run/redis.sock?db=0"
    assert settings.start_of("ppo") == ("torchrun", "--nproc-per-node", "8", "-m", "trainer", "ppo")
    assert settings.start_of("gate") == ("python", "-m", "trainer", "gate")


def test_without_a_launcher_every_stage_is_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure(monkeypatch, tmp_path, "")
    monkeypatch.setenv("HEED_TRAINER_COMMAND", '["python", "-m", "trainer"]')
    assert load_settings().start_of("reward") == ("python", "-m", "trainer", "reward")
