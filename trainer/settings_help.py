"""The settings in `--help`: the fields that a command reads, from their docstrings in config.py."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from trainer.config import Section, TrainerConfig

EVERY: tuple[str, ...] = ()
READS: dict[str, dict[str, Sequence[str]]] = {
    "base": {},
    "sft": {"sft": EVERY},
    "seeds": {
        "reward": ("max_seed_pairs", "seed_answer_tokens", "seed"),
        "rollout": ("engine", "max_prompt_tokens"),
    },
    "cross_fit": {"reward": ("micro_batch_tokens", "max_tokens")},
    "reward": {"reward": EVERY, "scale": EVERY},
    "reward_gate": {"reward_gate": EVERY, "rollout": EVERY},
    "ppo": {"ppo": EVERY, "rollout": EVERY, "groups": EVERY, "scale": EVERY},
    "plan": {"scale": EVERY, "ppo": EVERY, "reward": EVERY, "rollout": EVERY, "groups": EVERY},
    "settings": {},
    "gate": {"gate": EVERY, "rollout": EVERY},
    "ask": {"rollout": EVERY, "reward": ("micro_batch_tokens", "max_tokens")},
    "score": {"reward": ("micro_batch_tokens", "max_tokens")},
    "evaluate": {"rollout": EVERY, "reward": ("micro_batch_tokens", "max_tokens")},
    "reproduce": {},
}
"""Command -> section -> the fields that it reads."""
INTRODUCTION = (
    "Each has the default that is shown. A TOML file sets them by section (--config), --set sets one:"
    " --set {name}={value}. What --set says wins over the file."
)


def settings_help(command: str, width: int) -> str:
    """The settings of a command, wrapped to `width` columns; empty when it reads none."""
    sections = READS.get(command, {})
    if not sections:
        return ""
    first = next(iter(sections))
    example = sections[first] or tuple(section_model(first).model_fields)
    name = next(field for field in example if field != "preset")
    value = _toml(section_model(first).model_fields[name].default)
    introduction = INTRODUCTION.format(name=f"{first}.{name}", value=value)
    parts = ["settings:\n" + _wrapped(introduction, width, 2)]
    for section, fields in sections.items():
        parts.append(_section(section, fields, width))
    return "\n\n".join(parts) + "\n"


def section_model(name: str) -> type[Section]:
    """The class of a section."""
    return type(TrainerConfig.model_fields[name].default)


def _section(name: str, fields: Sequence[str], width: int) -> str:
    model = section_model(name)
    lines = [_wrapped(f"[{name}] {model.__doc__}", width)]
    for field_name, field in model.model_fields.items():
        if not fields or field_name in fields:
            setting = f"{name}.{field_name} = {_toml(field.default)}{_range(field)}"
            lines.append(_wrapped(setting, width, 2, hanging=6))
            lines.append(_wrapped(" ".join((field.description or "").split()), width, 6))
    return "\n".join(lines)


def _range(field: FieldInfo) -> str:
    """`  (above 0, at most 2)`, or the words that may stand there."""
    if get_origin(field.annotation) is Literal:
        return f"  ({', '.join(_toml(word) for word in get_args(field.annotation))})"
    bounds = []
    for one in field.metadata:
        match one:
            case Gt(gt=limit):
                bounds.append(f"above {limit:g}")
            case Ge(ge=limit):
                bounds.append(f"at least {limit:g}")
            case Lt(lt=limit):
                bounds.append(f"below {limit:g}")
            case Le(le=limit):
                bounds.append(f"at most {limit:g}")
    return f"  ({', '.join(bounds)})" if bounds else ""


def _toml(value: Any) -> str:
    return json.dumps(value)


def _wrapped(text: str, width: int, indent: int = 0, *, hanging: int = 0) -> str:
    return textwrap.fill(
        text,
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (hanging or indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
