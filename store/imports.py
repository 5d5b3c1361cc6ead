"""Imported preference data: pairs in the volume, a record in Redis; trainings take the sets in use."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from store import keys
from store.artifacts import sync_folder
from store.connection import Redis, available
from store.records import PreferencePair, Record, new_id, now


class ImportSet(Record):
    """One imported file. Taken out of use it stays: versions may have been trained on it."""

    id: str
    name: str
    tag: str
    """Every pair carries it: the reports tell imported data apart by it."""
    pairs: int
    shapes: dict[str, int]
    sha256: str
    actor: str
    in_use: bool = True
    created_at: datetime


class Imports:
    """Raises StoreUnavailable."""

    def __init__(self, redis: Redis, volume: Path) -> None:
        self._redis = redis
        self._folder = volume / "imports"

    async def add(
        self, pairs: Sequence[PreferencePair], *, name: str, tag: str, shapes: dict[str, int], actor: str
    ) -> ImportSet:
        """Keep the pairs; the next training takes them."""
        data = "".join(pair.model_dump_json() + "\n" for pair in pairs).encode()
        made = ImportSet(
            id=new_id("import"),
            name=name,
            tag=tag,
            pairs=len(pairs),
            shapes=shapes,
            sha256=hashlib.sha256(data).hexdigest(),
            actor=actor,
            created_at=now(),
        )
        await asyncio.to_thread(_write, self._folder / f"{made.id}.jsonl", data)
        await self._save(made)
        return made

    async def all(self) -> list[ImportSet]:
        """Newest first."""
        with available():
            texts = await self._redis.hvals(keys.IMPORTS)
        return sorted(map(ImportSet.model_validate_json, texts), key=lambda one: one.created_at, reverse=True)

    async def use(self, import_id: str, in_use: bool) -> ImportSet | None:
        """Take a set into trainings or out of them; None when there is no such set."""
        with available():
            text = await self._redis.hget(keys.IMPORTS, import_id)
        if text is None:
            return None
        changed = ImportSet.model_validate_json(text).model_copy(update={"in_use": in_use})
        await self._save(changed)
        return changed

    async def pairs(self) -> list[PreferencePair]:
        """The pairs of every set in use, oldest set first."""
        found: list[PreferencePair] = []
        for one in reversed(await self.all()):
            if one.in_use:
                found += await asyncio.to_thread(_read, self._folder / f"{one.id}.jsonl")
        return found

    async def _save(self, one: ImportSet) -> None:
        with available():
            await self._redis.hset(keys.IMPORTS, one.id, one.model_dump_json())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and still there after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp-{secrets.token_hex(6)}")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, path)
    sync_folder(path.parent)


def _read(path: Path) -> list[PreferencePair]:
    with open(path, encoding="utf-8") as file:
        return [PreferencePair.model_validate_json(line) for line in file]
