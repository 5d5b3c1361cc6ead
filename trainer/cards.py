"""Model cards: the README.md of a model folder, from what was measured and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import ModelCard, ModelCardData

from trainer.config import Section

Row = Sequence[str]
CARD = "README.md"


class Origin(NamedTuple):
    """Where a model comes from, as the Hugging Face Hub names it; None where nobody said."""

    base_model: str | None = None
    licence: str | None = None


def origin(folder: Path) -> Origin:
    """What the card of a model folder says of its origin: a model that is trained from it inherits that."""
    path = folder / CARD
    if not path.exists():
        return Origin()
    said = ModelCard.load(path, ignore_metadata_errors=True).data
    base_model, licence = said.get("base_model"), said.get("license")
    return Origin(
        base_model if isinstance(base_model, str) else None, licence if isinstance(licence, str) else None
    )


def model_card(
    *,
    title: str,
    task: str,
    tags: Sequence[str],
    comes_from: Origin,
    summary: str,
    parts: Sequence[tuple[str, str]],
    settings: Mapping[str, Section],
) -> str:
    """A card in the Hugging Face form: front matter, what it is, its parts, its settings.

    Args:
        task: pipeline tag of the front matter, such as `text-classification`.
        parts: heading and Markdown of each.
        settings: sections of the configuration that it was trained with, by name.
    """
    matter = ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        tags=list(tags),
        base_model=comes_from.base_model,
        license=comes_from.licence,
    )
    body = [f"# {title}", summary, *(f"## {heading}\n\n{text.strip()}" for heading, text in parts)]
    if settings:
        body.append(f"## Settings\n\n{_SETTINGS}\n\n```toml\n{settings_toml(settings)}```")
    return f"---\n{matter.to_yaml().strip()}\n---\n\n" + "\n\n".join(body) + "\n"


def table(header: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def settings_toml(settings: Mapping[str, Section]) -> str:
    """What differs from the defaults, by section; of [ppo] the preset, and what differs from it."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{field} = {json.dumps(value)}\n" for field, value in changed.items())
        for name, section in settings.items()
        if (changed := _changed(section))
    )


def _changed(section: Section) -> dict[str, Any]:
    values = section.model_dump(mode="json")
    preset = {name: value for name, value in values.items() if name == "preset"}
    plain = type(section).model_validate(preset).model_dump(mode="json")
    return preset | {name: value for name, value in values.items() if value != plain[name]}


_SETTINGS = (
    "Everything else was at its default in Heed's `trainer/config.py`. The same as a file for `--config`:"
)


def share_text(share: Mapping[str, Any]) -> str:
    """`0.71 (0.65 to 0.76, n = 200)` of a share with its interval."""
    return f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f}, n = {share['n']})"


def reward_model_card(
    report: Mapping[str, Any], *, started_from: Path, settings: Mapping[str, Section]
) -> str:
    """The card of a reward model; `report` is its report.json."""
    trained_on = (
        ("pairs from votes", f"{report['vote_pairs']}, of which ties: {report['ties']}"),
        ("seed pairs", str(report["seed_pairs"])),
        ("thumbs", str(report["thumbs"])),
        ("left out, too long", str(report["left_out_pairs"])),
    )
    return model_card(
        title="Reward model",
        task="text-classification",
        tags=("reward-model", "rlhf", "heed"),
        comes_from=origin(started_from),
        summary=(
            "One score for an answer to a conversation: the higher, the more people prefer it. It started as"
            f" the policy `{started_from.name}` with a new scalar head on the last token. Only differences"
            " between answers to the same prompt mean something; sigmoid(difference) is the probability that"
            " the first is preferred. It knows the taste of those who voted, not the truth."
        ),
        parts=(
            ("Trained on", table(("what", "how many"), trained_on)),
            ("Numbers", table(("measure", "value"), _reward_numbers(report))),
            ("How to load it", f"```python\n{_LOAD_REWARD_MODEL.strip()}\n```"),
        ),
        settings=settings,
    )


def _reward_numbers(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    held_out = report["held_out"]
    overall = {"share": held_out["accuracy"], "n": held_out["pairs"]}
    overall |= {"low": held_out["accuracy_low"], "high": held_out["accuracy_high"]}
    rows = [("held-out accuracy (95 % interval)", share_text(overall))]
    rows += [(f"accuracy, {tag}", share_text(share)) for tag, share in held_out["by_tag"].items()]
    rows += [
        (f"accuracy, preferred answer longer by {name} tokens", share_text(share))
        for name, share in held_out["by_length"].items()
    ]
    slope = held_out["length_slope"]
    rows += [
        ("mean margin", f"{held_out['margin']:.3f}"),
        ("expected calibration error", f"{held_out['calibration']['ece']:.3f}"),
        ("score per 100 tokens of length", "none" if slope is None else f"{slope:.3f}"),
    ]
    if report["agreement"]:
        rows.append(("agreement with the previous reward model", share_text(report["agreement"])))
    if report["prequential"]:
        before = report["prequential"]
        rows.append(
            ("previous reward model on the new votes", f"{before['accuracy']:.3f}, n = {before['pairs']}")
        )
    return rows


_LOAD_REWARD_MODEL = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
chat = [{"role": "user", "content": "Hello!"}]
text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
text += "Hello, how can I help?" + tokenizer.eos_token
with torch.no_grad():
    score = model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0, 0]

# vLLM: the same score
from vllm import LLM, PoolingParams

engine = LLM(folder, runner="pooling")
ids = tokenizer(text, add_special_tokens=False)["input_ids"]
output = engine.classify([{"prompt_token_ids": ids}], pooling_params=PoolingParams(use_activation=False))
score = output[0].outputs.probs[0]
"""
