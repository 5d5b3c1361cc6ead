"""The TOML file of a training, and what the command line sets over it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.config import TrainerConfig
from trainer.errors import ConfigError
from trainer.presets import PRESETS

FOREIGN_SECTIONS = (
    *("sampling", "duel", "schedule", "engine", "queue", "limits", "votes", "release"),
    *("asking", "opinions", "hacking", "archive"),
)
"""Sections of the same file that belong to the server or the workers."""


def load_config(path: Path | None, overrides: tuple[str, ...] = ()) -> TrainerConfig:
    """Reads the trainer's sections of a TOML file.

    Args:
        path: the file; None means the defaults.
        overrides: `section.field=value` strings, the value in TOML's notation; they win over the file. One
            that names a preset stands for the preset's values, so these win over the file too; other
            overrides win over the preset.

    Raises:
        ConfigError: the file cannot be read, or it names a section or a field that does not exist, or a value
            is out of bounds. The message names it.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"config {path} cannot be read: {error.strerror}. Give an existing file."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"config {path} is not valid TOML: {error}.") from None
    known = tuple(TrainerConfig.model_fields)
    for name in data:
        if name not in known + FOREIGN_SECTIONS:
            sections = ", ".join(f"[{section}]" for section in known + FOREIGN_SECTIONS)
            raise ConfigError(f"config {path}: there is no section [{name}]. The sections are {sections}.")
    own = {name: data[name] for name in known if name in data}
    given: dict[str, Any] = {}
    for override in overrides:
        _apply(given, override)
    for name, fields in given.items():
        preset = PRESETS.get(str(fields.get("preset")), {})
        own[name] = own.get(name, {}) | preset | fields
    try:
        return TrainerConfig.model_validate(own)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"config {path or 'overrides'}: " + "; ".join(problems)) from None


def _apply(sections: dict[str, Any], override: str) -> None:
    """Puts one `section.field=value` into the parsed sections."""
    name, equals, text = override.partition("=")
    section, dot, field = name.strip().partition(".")
    if not (equals and dot and section in TrainerConfig.model_fields):
        names = ", ".join(TrainerConfig.model_fields)
        raise ConfigError(f"--set {override}: write SECTION.FIELD=VALUE with a section of {names}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    sections.setdefault(section, {})[field] = value
