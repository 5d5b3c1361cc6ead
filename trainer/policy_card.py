"""Model cards of policies: the base, and what SFT or PPO-max made of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.cards import Origin, model_card, origin, share_text, table
from trainer.config import Section

CURVE = ("reward_mean", "ref_kl", "response_length_mean", "entropy", "explained_variance")
"""The metrics of the card's curve."""
CURVE_ROWS = 8
NUMBERS = {
    "reward_mean": "mean score of the reward model",
    "reward_std": "its deviation over the answers",
    "ref_kl": "nats per answer away from the reference",
    "response_length_mean": "tokens per answer",
    "truncated_share": "answers cut at the length limit",
    "entropy": "nats per token",
    "perplexity": "of the answers, under the policy itself",
    "ref_perplexity": "of the answers, under the reference",
    "repeat_share": "4-grams of an answer that it had said before",
    "explained_variance": "how well the critic foresaw the returns",
    "approx_kl": "nats per token that the policy had moved before a step of the update",
    "clip_share": "tokens whose ratio was clipped",
}
"""Metrics of the last update and what they are."""


def policy_card(
    report: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    *,
    started_from: Path,
    reference: Path,
    reward_model: Path,
    settings: Mapping[str, Section],
) -> str:
    """The card of a candidate; `report` is its report.json, `curve` has one `curve_row` an update."""
    trained_on = [
        ("started from", f"`{started_from.name}`"),
        ("held near (reference)", f"`{reference.name}`"),
        ("reward model", f"`{reward_model.name}`{_quality(reward_model)}"),
        ("updates in the weights", str(report["updates"])),
        ("seconds", f"{report['seconds']:.4g}"),
    ]
    if stopped := report.get("stopped_early"):
        trained_on.append(("stopped early", str(stopped)))
    numbers = [
        (f"`{name}`", f"{report[name]:.4g}", meaning) for name, meaning in NUMBERS.items() if name in report
    ]
    rows = [[f"{row['update']:g}", *(_cell(row, name) for name in CURVE)] for row in _thinned(curve)]
    return model_card(
        title="Policy",
        task="text-generation",
        tags=("rlhf", "ppo", "heed"),
        comes_from=origin(started_from),
        summary=(
            f"A chat model that PPO (arXiv 2307.04964, settings below) trained from `{started_from.name}`"
            " towards what people voted for, as a reward model learned it."
        ),
        parts=(
            ("Training", table(("what", "which"), trained_on)),
            ("Numbers of the last update", _MEASURED + table(("metric", "value", "what it is"), numbers)),
            ("Curve", table(("update", *CURVE), rows)),
            ("Limits", _LIMITS),
            ("How to load and serve it", _LOAD),
        ),
        settings=settings,
    )


def sft_card(report: Mapping[str, Any], *, started_from: Path, settings: Mapping[str, Section]) -> str:
    """The card of a policy that learned to imitate; `report` is its report.json."""
    learned = (
        ("started from", f"`{started_from.name}`"),
        ("texts", f"{report['texts']}, with {report['tokens']:,} tokens to learn"),
        ("left out, too long", str(report["left_out_texts"])),
        ("optimiser steps", str(report["steps"])),
        ("seconds", f"{report['seconds']:.4g}"),
    )
    numbers = [
        (f"held-out {what}", f"{report[f'held_out_{name}_before']:.4g}", f"{report[f'held_out_{name}']:.4g}")
        for name, what in (("nll", "NLL, nats per token"), ("perplexity", "perplexity"))
    ]
    return model_card(
        title="Policy",
        task="text-generation",
        tags=("sft", "heed"),
        comes_from=origin(started_from),
        summary=(
            f"A chat model that learned to imitate texts, from `{started_from.name}` on: supervised"
            " fine-tuning, before anybody's votes."
        ),
        parts=(
            ("Training", table(("what", "which"), learned)),
            (
                "Numbers",
                f"On {report['held_out_texts']} texts ({report['held_out_tokens']:,} tokens) that it never"
                " learned from. They say how likely those are to it, not how good its own answers are.\n\n"
                + table(("measure", "before", "after"), numbers),
            ),
            ("Limits", _SFT_LIMITS),
            ("How to load and serve it", _LOAD),
        ),
        settings=settings,
    )


def base_card(name: str, parameters: int, comes_from: Origin, *, gguf: str | None = None) -> str:
    """The card of a base policy: the model `name`, read from the file `gguf` if any, as it is served here."""
    return model_card(
        title="Base policy",
        task="text-generation",
        tags=("heed",),
        comes_from=comes_from,
        summary=(
            f"`{name}` with {parameters:,} parameters, untrained by this platform: its weights as bf16"
            " safetensors, with an `lm_head.weight` of their own, which vLLM needs to load the next version"
            " into a running engine. It is where the first training starts from."
            + (
                f" It was read from `{gguf}`: its weights are as fine as that file keeps them."
                if gguf
                else ""
            )
        ),
        parts=(
            ("Limits", "Those of the model that it was made of. Nobody's votes are in it."),
            ("How to load and serve it", _LOAD),
        ),
        settings={},
    )


def curve_row(update: int, metrics: Mapping[str, float]) -> dict[str, float]:
    """What the card's curve keeps of an update."""
    return {"update": float(update)} | {name: metrics[name] for name in CURVE if name in metrics}


def _thinned(curve: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """At most CURVE_ROWS rows, evenly far apart, the first and the last among them."""
    if len(curve) <= CURVE_ROWS:
        return list(curve)
    gap = (len(curve) - 1) / (CURVE_ROWS - 1)
    return [curve[round(index * gap)] for index in range(CURVE_ROWS)]


def _cell(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.4g}" if name in row else ""


def _quality(reward_model: Path) -> str:
    """`, held-out accuracy 0.71 (...)`, where the reward model's folder has its report."""
    path = reward_model / "report.json"
    if not path.exists():
        return ""
    held_out = json.loads(path.read_text(encoding="utf-8"))["held_out"]
    share = {"share": held_out["accuracy"], "n": held_out["pairs"]}
    share |= {"low": held_out["accuracy_low"], "high": held_out["accuracy_high"]}
    return f", held-out accuracy {share_text(share)}"


_MEASURED = (
    "Measured on the answers that the last update drew, before it learned from them. They were drawn to be"
    " trained on: the gate's report, made later on other prompts, says whether the policy is better.\n\n"
)
_LIMITS = """
- It was trained to please a reward model that knows the taste of those who voted. A high `reward_mean` is not
  the truth, and a high one with a high `ref_kl` may be a hack of the reward model.
- It can be wrong, and say so with confidence; what its base should not be used for, this should not either.
- Nothing was trained for safety beyond what the base and the votes hold.
"""
_SFT_LIMITS = """
- It says what its texts say, their mistakes too, and says it as surely where they are silent.
- What its base should not be used for, this should not either. Nobody's votes are in it.
"""
_LOAD = """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
chat = [{"role": "user", "content": "Hello!"}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
said = model.generate(**ids, max_new_tokens=64, do_sample=True)
answer = tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
```

```sh
vllm serve . --served-model-name policy
```
"""
