"""Presets: what each sets otherwise than PPO-max, number by number, and that a value that is set wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import BUNDLED_CONFIG
from trainer.config import PPOConfig
from trainer.config_file import load_config
from trainer.errors import ConfigError
from trainer.presets import PRESETS

DIFFERENCES = """\
preset            field                    ppo-max  here
vanilla           approx_kl_stop           0.03     0.0
vanilla           critic_pretrain_updates  1        0
vanilla           importance_limit         2.0      0.0
vanilla           kl_coef                  0.05     0.0
vanilla           kl_stop                  60.0     0.0
vanilla           missing_eos_penalty      1.0      0.0
vanilla           score_clip               5.0      0.0
vanilla           value_clip_range         0.2      0.0
ppo-max-paper     approx_kl_stop           0.03     0.0
ppo-max-paper     critic_lr                3e-05    1.65e-06
ppo-max-paper     critic_pretrain_updates  1        50
ppo-max-paper     gae_lambda               0.95     0.9
ppo-max-paper     importance_limit         2.0      0.0
ppo-max-paper     lr                       1e-05    5e-07
ppo-max-paper     minibatch                16       32
ppo-max-paper     missing_eos_penalty      1.0      0.0
ppo-max-paper     ptx_coef                 0.0      0.1
ppo-max-paper     rollouts                 32       128
ppo-max-paper     score_clip               5.0      0.8
ppo-max-paper     warmup_share             0.0      0.1
ppo-max-repo-en   adam_eps                 1e-05    1e-06
ppo-max-repo-en   approx_kl_stop           0.03     0.0
ppo-max-repo-en   critic_adam_eps          1e-05    1e-08
ppo-max-repo-en   critic_lr                3e-05    1.5e-06
ppo-max-repo-en   critic_pretrain_updates  1        0
ppo-max-repo-en   importance_limit         2.0      0.0
ppo-max-repo-en   kl_coef                  0.05     0.01
ppo-max-repo-en   lr                       1e-05    5e-07
ppo-max-repo-en   lr_decay                 none     inverse-sqrt
ppo-max-repo-en   minibatch                16       14
ppo-max-repo-en   missing_eos_penalty      1.0      0.0
ppo-max-repo-en   rollouts                 32       14
ppo-max-repo-en   score_clip               5.0      0.0
ppo-max-repo-en   score_scaling            False    True
ppo-max-repo-en   warmup_share             0.0      0.1
ppo-max-repo-zh   adam_eps                 1e-05    1e-06
ppo-max-repo-zh   approx_kl_stop           0.03     0.0
ppo-max-repo-zh   critic_adam_eps          1e-05    1e-08
ppo-max-repo-zh   critic_lr                3e-05    1.5e-06
ppo-max-repo-zh   critic_pretrain_updates  1        0
ppo-max-repo-zh   importance_limit         2.0      0.0
ppo-max-repo-zh   kl_coef                  0.05     0.1
ppo-max-repo-zh   lr                       1e-05    5e-07
ppo-max-repo-zh   lr_decay                 none     inverse-sqrt
ppo-max-repo-zh   minibatch                16       14
ppo-max-repo-zh   missing_eos_penalty      1.0      0.0
ppo-max-repo-zh   rollouts                 32       14
ppo-max-repo-zh   score_clip               5.0      0.0
ppo-max-repo-zh   score_scaling            False    True
ppo-max-repo-zh   warmup_share             0.0      0.1
"""
DOCS = Path(__file__).resolve().parents[3] / "docs" / "ppo.md"


def preset(name: str) -> PPOConfig:
    return load_config(None, (f"ppo.preset={name}",)).ppo


def test_each_preset_differs_from_ppo_max_in_these_numbers_only() -> None:
    lines = [("preset", "field", "ppo-max", "here")]
    plain = PPOConfig().model_dump(exclude={"preset"})
    for name in PRESETS:
        values = preset(name).model_dump(exclude={"preset"})
        lines += [
            (name, field, str(plain[field]), str(values[field]))
            for field in sorted(values)
            if values[field] != plain[field]
        ]
    table = "".join(f"{a:<18}{b:<25}{c:<9}{d}\n" for a, b, c, d in lines)
    print(table)  # noqa: T201 - what the test is for
    assert table == DIFFERENCES


def test_ppo_max_is_the_default() -> None:
    assert preset("ppo-max") == PPOConfig()


def test_a_value_that_is_set_wins_over_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "heed.toml"
    path.write_text('[ppo]\npreset = "vanilla"\nkl_coef = 0.3\n', encoding="utf-8")
    config = load_config(path, ("ppo.value_clip_range=0.5",)).ppo
    assert (config.kl_coef, config.value_clip_range, config.score_clip) == (0.3, 0.5, 0.0)


def test_a_preset_from_the_command_line_wins_over_a_file_that_names_every_value() -> None:
    config = load_config(BUNDLED_CONFIG, ("ppo.kl_coef=0.3", "ppo.preset=vanilla")).ppo

    assert config == PPOConfig(preset="vanilla", kl_coef=0.3)


def test_a_preset_from_the_command_line_leaves_what_it_does_not_name(tmp_path: Path) -> None:
    path = tmp_path / "heed.toml"
    path.write_text("[ppo]\nlr = 1e-4\nscore_clip = 2.0\n", encoding="utf-8")

    assert load_config(path, ("ppo.preset=vanilla",)).ppo == PPOConfig(preset="vanilla", lr=1e-4)


def test_a_preset_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"ppo\.preset.*'vanilla'"):
        load_config(None, ("ppo.preset=ppo-min",))


def test_scaling_on_top_of_normalising_is_refused() -> None:
    with pytest.raises(ConfigError, match="score_scaling needs score_clip = 0"):
        load_config(None, ("ppo.preset=ppo-max-repo-en", "ppo.score_clip=5"))


def test_the_docs_name_every_number_of_every_preset() -> None:
    text = DOCS.read_text(encoding="utf-8")
    fields = {field for values in PRESETS.values() for field in values}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []
    assert [name for name in PRESETS if f"`{name}`" not in text] == []
