"""Config: defaults, bounds, overrides, and the message for a name that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import SECTIONS
from trainer.config import RewardConfig, TrainerConfig
from trainer.config_file import FOREIGN_SECTIONS, load_config
from trainer.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "heed.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_means_the_defaults() -> None:
    assert load_config(None) == TrainerConfig()


def test_own_sections_are_read_and_the_others_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "[reward]\nlr = 2e-5\n[engine]\nmax_model_len = 64\n[duel]\nshare = 0.5\n")

    assert load_config(path).reward == RewardConfig(lr=2e-5)


def test_an_unknown_section_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no section \[rewards\]"):
        load_config(written(tmp_path, "[rewards]\nlr = 1e-5\n"))


def test_an_unknown_field_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reward\.learning_rate"):
        load_config(written(tmp_path, "[reward]\nlearning_rate = 1e-5\n"))


@pytest.mark.parametrize("line", ["lr = 0.0", "lr = nan", "seed_share = 1.0", "epochs = 0", "lr = 'fast'"])
def test_a_value_out_of_bounds_is_refused_by_name(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=rf"reward\.{line.split()[0]}"):
        load_config(written(tmp_path, f"[reward]\n{line}\n"))


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[reward]\nlr = 2e-5\n")

    config = load_config(path, ("reward.lr=3e-5", "rollout.engine=transformers"))

    assert (config.reward.lr, config.rollout.engine) == (3e-5, "transformers")


@pytest.mark.parametrize("override", ["lr=1", "server.lr=1", "reward.lr"])
def test_an_override_that_names_no_field_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"SECTION\.FIELD=VALUE"):
        load_config(None, (override,))


def test_a_missing_file_and_bad_toml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(written(tmp_path, "[reward\n"))


def test_every_field_says_what_it_is_for() -> None:
    for section in TrainerConfig.model_fields:
        model = type(getattr(TrainerConfig(), section))
        undocumented = [name for name, field in model.model_fields.items() if not field.description]
        assert undocumented == []


def test_the_sections_are_those_of_the_store() -> None:
    assert {*TrainerConfig.model_fields, *FOREIGN_SECTIONS} == set(SECTIONS)
