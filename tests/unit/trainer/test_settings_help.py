"""--help: every field that a command reads, with default, bounds and docstring, wrapped to the width."""

from __future__ import annotations

import argparse
import inspect
import typing

import pytest

from trainer.cli import FOLDERS, build_parser
from trainer.config import Section, TrainerConfig
from trainer.settings_help import READS, section_model, settings_help

SECTIONS = {type(getattr(TrainerConfig(), name)): name for name in TrainerConfig.model_fields}


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = [one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(action.choices)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", READS)
def test_every_field_that_a_command_reads_is_in_its_help(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    said = commands()[command].format_help()

    assert max(len(line) for line in said.splitlines()) <= 90
    for section, chosen in READS[command].items():
        for name, field in section_model(section).model_fields.items():
            shown = not chosen or name in chosen
            assert (f"\n  {section}.{name} = " in said) == shown
            assert (words(field.description or "?") in words(said)) or not shown


def test_a_setting_shows_its_default_its_bounds_and_its_words() -> None:
    said = settings_help("ppo", 100)

    assert "\n  ppo.kl_coef = 0.05  (at least 0)\n      Weight of the per-token KL penalty against" in said
    assert "\n  rollout.temperature = 1.0  (above 0, at most 2)\n" in said
    assert '\n  ppo.ratio_against = "old"  ("old", "reference")\n' in said
    assert "\n  ppo.advantage_whiten = false\n" in said
    assert "--set ppo.updates=16" in said


def test_a_narrow_terminal_gets_narrow_lines() -> None:
    assert max(len(line) for line in settings_help("ppo", 50).splitlines()) <= 60  # one long name


@pytest.mark.parametrize(
    ("command", "path"),
    [("reward", "reward.train_reward_model"), ("ppo", "ppo.train_policy"), ("gate", "gate.judge")],
)
def test_the_sections_in_the_help_are_those_that_the_stage_takes(command: str, path: str) -> None:
    module, name = path.split(".")
    stage = getattr(__import__(f"trainer.{module}", fromlist=[name]), name)
    hints = typing.get_type_hints(stage)
    taken = {SECTIONS[kind] for kind in hints.values() if inspect.isclass(kind) and issubclass(kind, Section)}

    assert taken <= READS[command].keys()
    assert READS[command].keys() - taken <= {"scale"}


def test_every_command_is_in_the_table_and_every_option_says_what_it_is() -> None:
    for name, parser in commands().items():
        assert name in READS
        assert [action.dest for action in parser._actions if not action.help] == []
    assert FOLDERS.keys() <= {word for one in commands().values() for word in one._option_string_actions}
