"""Segments: numbered files of JSON lines, appended and fsynced, sealed by a rename when large or old.

The position is read back from the file: there is no second truth about what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from store.archive.manifest import (
    ArchiveError,
    Manifest,
    Sealed,
    append,
    cut_torn,
    file_name,
    whole,
)
from store.artifacts import sync_folder

Line = dict[str, Any]


class Place(NamedTuple):
    """Where a line is. It stays true when its segment is sealed."""

    number: int
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.number}:{self.offset}:{self.length}"

    @classmethod
    def parse(cls, text: str) -> Place:
        return cls(*map(int, text.split(":")))


class Segments:
    """One series of segments. Only one process at a time may write; any number may read."""

    def __init__(self, folder: Path, series: str) -> None:
        self.folder = folder
        self.series = series
        self.manifest = Manifest(folder)

    def recover(self) -> None:
        """Finish or undo what a crash interrupted; before the first write of a process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cut_torn(self.manifest.path)
        sealed = {one.number for one in self.manifest.of(self.series)}
        for number, path in self._files():
            if path.name.endswith(".open.jsonl"):
                cut_torn(path)
            elif number not in sealed:  # renamed, but the crash came before its line in the manifest
                self._describe(number)

    def append(self, lines: Sequence[Line]) -> list[Place]:
        """Write lines at the end of the open segment; durable when this returns."""
        if not lines:
            return []
        encoded = [encode(line) for line in lines]
        number = self.open_number()
        begin = append(self._open(number), b"".join(encoded))
        places = []
        for data in encoded:
            places.append(Place(number, begin, len(data)))
            begin += len(data)
        return places

    def open_number(self) -> int:
        """Number of the segment that is written now."""
        numbers = [number for number, _ in self._files()]
        sealed = [one.number for one in self.manifest.of(self.series)]
        newest = max([0, *numbers, *sealed])
        return newest if newest and self._open(newest).exists() else newest + 1

    def seal_when(self, *, bytes_: int, age_s: float) -> bool:
        """Seal the open segment when it is that large or its first line that old; whether it was."""
        number = self.open_number()
        path = self._open(number)
        if not path.exists() or not path.stat().st_size:
            return False
        with open(path, "rb") as file:
            began = json.loads(file.readline())["at"] / 1000
        if path.stat().st_size < bytes_ and time.time() - began < age_s:
            return False
        os.rename(path, self.folder / file_name(self.series, number))
        sync_folder(self.folder)
        self._describe(number)
        return True

    def last(self) -> Line | None:
        """The newest line, by which a stream's archive knows where to go on."""
        for number in range(self.open_number(), 0, -1):
            path = self._path(number)
            if path is not None and (data := whole(path)[0]):
                line: Line = json.loads(data)
                return line
        return None

    def end(self) -> Place:
        """Behind the newest line."""
        number = self.open_number()
        path = self._open(number)
        return Place(number, path.stat().st_size if path.exists() else 0, 0)

    def at(self, number: int, offset: int) -> Line:
        """The line that begins there. Raises ArchiveError."""
        path = self._path(number)
        if path is None:
            raise ArchiveError(f"{self.folder / file_name(self.series, number)} is missing")
        with open(path, "rb") as file:
            file.seek(offset)
            try:
                line: Line = json.loads(file.readline())
            except ValueError:
                raise ArchiveError(f"{path}: no line begins at byte {offset}") from None
        return line

    def lines(self, after: Place | None = None, *, sealed_only: bool = False) -> Iterator[tuple[Place, Line]]:
        """Every whole line in order, or those behind a place. Raises ArchiveError: no JSON, or a gap."""
        first = after.number if after else 1
        for number in range(first, self.open_number() + 1):
            path = self._path(number)
            if path is None:
                if number == self.open_number():  # nothing is open now
                    return
                raise ArchiveError(f"{self.folder / file_name(self.series, number)} is missing")
            if sealed_only and path.name.endswith(".open.jsonl"):
                return
            yield from _lines(path, number, after.offset + after.length if after and number == first else 0)

    def _files(self) -> list[tuple[int, Path]]:
        found = []
        for path in self.folder.glob(f"{self.series}-*.jsonl"):
            digits = path.name.removeprefix(f"{self.series}-").split(".")[0]
            if digits.isdigit():
                found.append((int(digits), path))
        return sorted(found)

    def _open(self, number: int) -> Path:
        return self.folder / file_name(self.series, number, sealed=False)

    def _path(self, number: int) -> Path | None:
        for path in (self.folder / file_name(self.series, number), self._open(number)):
            if path.exists():
                return path
        return None

    def _describe(self, number: int) -> None:
        """Enter a segment into the manifest."""
        self.manifest.add(described(self.folder / file_name(self.series, number), self.series, number))


def described(path: Path, series: str, number: int) -> Sealed:
    """The manifest's line of a segment."""
    data = path.read_bytes()
    lines = data.splitlines()
    first, last = (json.loads(line) for line in (lines[0], lines[-1]))
    return Sealed(
        series=series,
        number=number,
        lines=len(lines),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        first=str(first.get("entry", first["at"])),
        last=str(last.get("entry", last["at"])),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        before="",
    )


def encode(line: Line) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path, number: int, begin: int) -> Iterator[tuple[Place, Line]]:
    with open(path, "rb") as file:
        file.seek(begin)
        for data in file:
            if not data.endswith(b"\n"):
                return
            try:
                yield Place(number, begin, len(data)), json.loads(data)
            except ValueError:
                raise ArchiveError(f"{path}: no JSON at byte {begin}") from None
            begin += len(data)
