"""What the gate's tests have in common."""

from __future__ import annotations

from pathlib import Path

from trainer.gate_prompts import GATE_PROMPTS


def few_gate_prompts(folder: Path) -> Path:
    """Two of the fixed questions, one of each kind: all take a tiny model longer than its training."""
    lines = GATE_PROMPTS.read_text(encoding="utf-8").splitlines()
    path = folder / "few_gate_prompts.jsonl"
    path.write_text(f"{lines[0]}\n{lines[-1]}\n", encoding="utf-8")
    return path
