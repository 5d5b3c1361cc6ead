"""What the scripted people ask: each prompt once, so that no vote and no round sees one again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

BUNDLED = Path(__file__).with_name("prompts.jsonl")


def read_prompts(path: Path) -> list[str]:
    """Single-turn user prompts of a JSONL file (also .gz), each once, in the file's order.

    Raises SystemExit naming the line.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    prompts: dict[str, None] = {}
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            turns = json.loads(line).get("prompt")
            if not isinstance(turns, list) or not turns or turns[-1].get("role") != "user":
                raise SystemExit(f"{path}:{number}: field `prompt` must be a list that ends with a user turn")
            if len(turns) == 1:
                prompts[turns[0]["content"].strip()] = None
    return list(prompts)
