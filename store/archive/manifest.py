"""The archive's manifest: one line for each sealed segment, each naming the hash of the line before it.

Changing, removing or reordering a line breaks the chain at that place; a segment that lost its line is found
because it is there without one. Who can write to the folder could still forge all of it: keep the hash of the
newest line elsewhere.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import ValidationError

from store.artifacts import sync_folder
from store.records import Record

NAME = "manifest.jsonl"
TAIL = 1 << 20


class ArchiveError(Exception):
    """An archive that must not be trusted; the message names the file and what is wrong."""


class Sealed(Record):
    """One sealed segment, or (`was`) its successor of the same length with deleted texts blanked."""

    series: str
    number: int
    lines: int
    bytes: int
    sha256: str
    first: str
    """Id of the first line: of a stream its entry's, else when it was written (ms since 1970)."""
    last: str
    at: str
    was: str | None = None
    """SHA-256 before the texts of deleted conversations were blanked."""
    before: str
    """SHA-256 of the manifest's line before; empty in the first."""

    @property
    def file(self) -> str:
        return file_name(self.series, self.number)


def file_name(series: str, number: int, *, sealed: bool = True) -> str:
    """`votes-000003.jsonl`, or `votes-000003.open.jsonl` while it is written."""
    return f"{series}-{number:06d}{'' if sealed else '.open'}.jsonl"


class Manifest:
    """The manifest of one archive folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._read: tuple[int, int] = (-1, -1)
        self._entries: list[Sealed] = []

    def entries(self) -> list[Sealed]:
        """Every line, oldest first, read again when the file changed. Raises ArchiveError."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return []
        if self._read != (status.st_mtime_ns, status.st_size):
            self._entries = _checked(self.path)
            self._read = (status.st_mtime_ns, status.st_size)
        return self._entries

    def now(self) -> dict[tuple[str, int], Sealed]:
        """(series, number) -> what its segment is now."""
        return {(one.series, one.number): one for one in self.entries()}

    def of(self, series: str) -> list[Sealed]:
        """The series' sealed segments as they are now, in order."""
        return [one for (name, _), one in sorted(self.now().items()) if name == series]

    def head(self) -> str:
        """SHA-256 of the newest line; noted elsewhere it proves later that nothing before it was changed."""
        lines = _lines(self.path) if self.path.exists() else []
        return _hash(lines[-1]) if lines else ""

    def add(self, entry: Sealed) -> None:
        """Append a line, durable when this returns; a torn one of a crash is cut off first."""
        cut_torn(self.path)
        line = entry.model_copy(update={"before": self.head()}).model_dump_json().encode() + b"\n"
        append(self.path, line)


def _checked(path: Path) -> list[Sealed]:
    before = ""
    entries = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            entry = Sealed.model_validate_json(line)
        except ValidationError:
            raise ArchiveError(f"{path}: line {number} is no line of a manifest") from None
        if entry.before != before:
            raise ArchiveError(f"{path}: line {number} does not follow the line before it")
        entries.append(entry)
        before = _hash(line)
    return entries


def _lines(path: Path) -> list[bytes]:
    """Whole lines; what a crash tore off at the end was never a line."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def append(path: Path, data: bytes) -> int:
    """Append to the file and fsync; where the data begins."""
    new = not path.exists()
    with open(path, "ab") as file:
        begin = file.tell()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)
    return begin


def cut_torn(path: Path) -> None:
    """Cut what stands after the last whole line: a write that a crash interrupted."""
    if path.exists() and (end := whole(path)[1]) < path.stat().st_size:
        with open(path, "rb+") as file:
            file.truncate(end)
            os.fsync(file.fileno())


def whole(path: Path) -> tuple[bytes, int]:
    """The last whole line (b"" when there is none), and where it ends."""
    size = path.stat().st_size
    step = TAIL
    with open(path, "rb") as file:
        while True:
            begin = max(0, size - step)
            file.seek(begin)
            data = file.read(size - begin)
            end = data.rfind(b"\n") + 1
            while end:
                start = data.rfind(b"\n", 0, end - 1) + 1
                if not start and begin:
                    break
                # After a power cut a block of zeros may stand where a line was to be.
                if data[start : start + 1] == b"{" and data[end - 2 : end - 1] == b"}":
                    return data[start:end], begin + end
                end = start
            if not begin:
                return b"", 0
            step *= 4
