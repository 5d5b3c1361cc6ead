"""Deleted conversations leave the archive too: their lines are blanked.

At the same length, so that the places of all others stay true; the manifest says what the segment was before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from store.archive.index import SegmentIndex
from store.archive.manifest import Sealed
from store.archive.segments import Segments, described, encode
from store.artifacts import sync_folder

ASIDE = ".blanked"


def blank(segments: Segments, index: SegmentIndex, gone: Iterable[str]) -> int:
    """Blank every line of these conversations in the sealed segments; how many."""
    places: dict[int, set[int]] = {}
    for name in gone:
        for number, offset in index.find(name):
            places.setdefault(number, set()).add(offset)
    wanted = set(gone)
    return sum(_segment(segments, number, sorted(offsets), wanted) for number, offsets in places.items())


def recover_blanked(segments: Segments) -> None:
    """Finish what a crash interrupted: the manifest's line comes first, then the rename."""
    now = segments.manifest.now()
    for aside in segments.folder.glob(f"{segments.series}-*.jsonl{ASIDE}"):
        path = aside.with_suffix("")
        entry = next((one for one in now.values() if one.file == path.name), None)
        if entry is not None and _sha256(aside) == entry.sha256:
            os.rename(aside, path)
            sync_folder(path.parent)
        else:
            aside.unlink()


def _segment(segments: Segments, number: int, offsets: list[int], gone: set[str]) -> int:
    entry = segments.manifest.now()[segments.series, number]
    path = segments.folder / entry.file
    data = bytearray(path.read_bytes())
    done = 0
    for offset in offsets:
        length = data.index(b"\n", offset) + 1 - offset
        line = segments.at(number, offset)
        if line["id"] in gone and "conversation" in line:
            data[offset : offset + length] = _blank(line["at"], line["id"], length)
            done += 1
    if done:
        _replace(segments, entry, path, bytes(data))
    return done


def _replace(segments: Segments, entry: Sealed, path: Path, data: bytes) -> None:
    aside = path.with_name(path.name + ASIDE)
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    made = described(aside, entry.series, entry.number)
    segments.manifest.add(made.model_copy(update={"was": entry.sha256}))
    os.rename(aside, path)
    sync_folder(path.parent)


def _blank(at: int, name: str, length: int) -> bytes:
    padding = length - len(encode({"at": at, "id": name, "blank": ""}))
    return encode({"at": at, "id": name, "blank": " " * padding})


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
