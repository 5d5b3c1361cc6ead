"""Model folders: written whole or not at all, with the tokenizer and the licence of where they come from."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.errors import ModelError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` when the block ends well, and vanishes when it does not.

    Raises:
        ModelError: `out` exists already; nothing is ever overwritten.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} exists already. Give a new folder; nothing is overwritten.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".tmp-{out.name}-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors leaves 0600, other users serve these
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer's files. Raises ModelError when there is no tokenizer.json."""
    if not (source / "tokenizer.json").exists():
        raise ModelError(f"{source} has no tokenizer.json: the tokenizer must be a fast one.")
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copy(source / name, folder)


def copy_licence(source: Path, folder: Path) -> None:
    """Copies LICENSE and NOTICE, which a licence may ask for; named so that the folder can be published."""
    for path in sorted(source.glob("LICENSE*")) + sorted(source.glob("NOTICE*")):
        if path.suffix in ("", ".txt", ".md"):
            shutil.copy(path, folder / (path.name if path.suffix else f"{path.name}.txt"))


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises ModelError when there is none."""
    path = folder / "config.json"
    if not path.exists():
        raise ModelError(f"{folder} is not a model folder: config.json is missing.")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config
