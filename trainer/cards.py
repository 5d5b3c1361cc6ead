"""Model cards: the README.md of a model folder, from what was measured and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[str, str]


def model_card(
    *,
    title: str,
    task: str,
    tags: Sequence[str],
    summary: str,
    trained_on: Sequence[Row],
    numbers: Sequence[Row],
    load: str,
    settings: Mapping[str, Any],
) -> str:
    """A card in the Hugging Face form: front matter, what it is, its data, its numbers, how to load it.

    Args:
        task: pipeline tag of the front matter, such as `text-classification`.
        load: Python that loads the folder it stands in.
        settings: the section of the configuration that it was trained with.
    """
    matter = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {task}",
        "tags:",
        *(f"- {t}" for t in tags),
    ]
    parts = [
        "\n".join([*matter, "---"]),
        f"# {title}",
        summary,
        "## Trained on",
        table(("what", "how many"), trained_on),
        "## Numbers",
        table(("measure", "value"), numbers),
        "## How to load it",
        f"```python\n{load.strip()}\n```",
        "## Settings",
        f"```json\n{json.dumps(settings, indent=2)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Row, rows: Sequence[Row]) -> str:
    """A Markdown table of two columns."""
    lines = [header, ("---", "---"), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def share_text(share: Mapping[str, Any]) -> str:
    """`0.71 (0.65 to 0.76, n = 200)` of a share with its interval."""
    return f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f}, n = {share['n']})"


def reward_model_card(report: Mapping[str, Any], *, started_from: str, settings: Mapping[str, Any]) -> str:
    """The card of a reward model; `report` is its report.json."""
    return model_card(
        title="Reward model",
        task="text-classification",
        tags=("reward-model", "rlhf", "heed"),
        summary=(
            "One score for an answer to a conversation: the higher, the more people prefer it. It started as"
            f" the policy `{started_from}` with a new scalar head on the last token. Only differences between"
            " answers to the same prompt mean something; sigmoid(difference) is the probability that the"
            " first is preferred. It knows the taste of those who voted, not the truth."
        ),
        trained_on=(
            ("pairs from votes", f"{report['vote_pairs']}, of which ties: {report['ties']}"),
            ("seed pairs", str(report["seed_pairs"])),
            ("thumbs", str(report["thumbs"])),
            ("left out, too long", str(report["left_out_pairs"])),
        ),
        numbers=_reward_numbers(report),
        load=_LOAD_REWARD_MODEL,
        settings=settings,
    )


def _reward_numbers(report: Mapping[str, Any]) -> list[Row]:
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
