"""Demonstrations: answers with a thumb up, which PPO-ptx imitates. The better of two may still be bad."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from store.records import PreferencePair

ENOUGH = 32
"""Texts. Fewer are learned by heart: a run of 16 updates draws 256, so each is read eight times."""

logger = logging.getLogger(__name__)


def ptx_arguments(train: Path, out: Path) -> tuple[object, ...]:
    """What `python -m trainer ppo` is told about PPO-ptx, which the configuration may have given a weight.

    Too few demonstrations turn it off for this run: without texts the trainer would refuse the weight.

    Args:
        train: the snapshot's train pairs.
        out: file for the texts.
    """
    texts = demonstrations(train)
    if len(texts) < ENOUGH:
        logger.info("no PPO-ptx: %d answers have a thumb up, %d are needed", len(texts), ENOUGH)
        return ("--set", "ppo.ptx_coef=0")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return ("--ptx", out)


def demonstrations(train: Path) -> list[str]:
    """Lines of a file of texts, each prompt with its answer once."""
    pairs = (PreferencePair.model_validate_json(line) for line in train.read_text("utf-8").splitlines())
    good = (pair for pair in pairs if pair.source == "thumb" and pair.chosen)
    fields = {"prompt", "chosen", "chosen_ended"}
    return list(
        dict.fromkeys(json.dumps(pair.model_dump(include=fields), ensure_ascii=False) for pair in good)
    )
