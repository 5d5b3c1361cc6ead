"""Is an archive whole: every segment there, as it was sealed, and every line of the manifest in its chain."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from store.archive.keep import IDENTITY, SERIES
from store.archive.manifest import NAME, ArchiveError, Manifest, file_name
from store.archive.segments import Segments
from store.records import Record


class Report(Record):
    """What a whole archive holds."""

    segments: int
    """Sealed ones."""
    lines: dict[str, int]
    """Series -> lines, those of the open segment among them."""
    bytes: int
    head: str
    """Hash of the manifest's newest line: noted elsewhere it proves that none was cut off."""


def verify(folder: Path, say: Callable[[str], object] = lambda _: None) -> Report:
    """Read and hash everything. Raises ArchiveError naming the first file that is not as it was."""
    if not (folder / IDENTITY).exists():
        raise ArchiveError(f"{folder / IDENTITY} is missing: this is no archive, or nothing was archived yet")
    manifest = Manifest(folder)
    known = manifest.now()
    size = 0
    for sealed in known.values():
        path = folder / sealed.file
        if not path.exists():
            raise ArchiveError(f"{path} is missing: {folder / NAME} names it")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sealed.sha256:
                raise ArchiveError(f"{path} is not what was sealed: its SHA-256 differs from {NAME}")
        size += sealed.bytes
        say(sealed.file)
    lines: dict[str, int] = {}
    for series in SERIES:
        segments = Segments(folder, series)
        numbers = sorted(number for name, number in known if name == series)
        if numbers != list(range(1, len(numbers) + 1)):
            missing = min(set(range(1, numbers[-1] + 1)) - set(numbers))
            raise ArchiveError(f"{folder / NAME}: {file_name(series, missing)} is missing")
        for path in folder.glob(f"{series}-*.jsonl"):
            if not path.name.endswith(".open.jsonl") and path.name not in {
                one.file for one in known.values()
            }:
                raise ArchiveError(f"{path} is not in {NAME}: its line was cut off")
        lines[series] = sum(one.lines for one in segments.manifest.of(series))
        open_ = folder / file_name(series, segments.open_number(), sealed=False)
        if open_.exists():
            lines[series] += open_.read_bytes().count(b"\n")
            size += open_.stat().st_size
    return Report(segments=len(known), lines=lines, bytes=size, head=manifest.head())
