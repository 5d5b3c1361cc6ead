"""JSON lines as text. `str.splitlines` also cuts at U+0085, U+2028 and U+2029, which JSON leaves in texts."""

from __future__ import annotations

from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file that are not empty."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
