"""Demonstrations, which PPO-ptx imitates: ideal answers that people wrote, and answers with a thumb up.

The better of two may still be bad.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TypeVar

from store.json_lines import read_lines
from store.records import Demonstration, PreferencePair, Record

Line = TypeVar("Line", bound=Record)

ENOUGH = 32
"""Texts. Fewer are learned by heart: a run of 16 updates draws 256, so each is read eight times."""

logger = logging.getLogger(__name__)


def ptx_arguments(snapshot: Path, out: Path) -> tuple[object, ...]:
    """What `python -m trainer ppo` is told about PPO-ptx, which the configuration may have given a weight.

    Too few demonstrations turn it off for this run: without texts the trainer would refuse the weight.

    Args:
        snapshot: the run's frozen data set.
        out: file for the texts.
    """
    texts = demonstrations(snapshot)
    if len(texts) < ENOUGH:
        said = "no PPO-ptx: %d answers are ideal or have a thumb up, %d are needed"
        logger.info(said, len(texts), ENOUGH)
        return ("--set", "ppo.ptx_coef=0")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return ("--ptx", out)


def demonstrations(snapshot: Path) -> list[str]:
    """Lines of a file of texts, each prompt with its answer once: ideal answers, then thumbs."""
    ideal = _lines(snapshot / "demonstrations.jsonl", Demonstration)
    pairs = _lines(snapshot / "train.jsonl", PreferencePair)
    good = (pair for pair in pairs if pair.source == "thumb" and pair.chosen)
    fields = {"prompt", "chosen", "chosen_ended"}
    texts = (one.model_dump(include=fields) for one in (*ideal, *good))
    return list(
        dict.fromkeys(json.dumps({"chosen_ended": True} | text, ensure_ascii=False) for text in texts)
    )


def _lines(path: Path, kind: type[Line]) -> list[Line]:
    return [kind.model_validate_json(line) for line in read_lines(path)]
