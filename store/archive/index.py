"""Where an id stands in the sealed segments: sorted hashes beside each segment, made from it and made again
when they are missing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.archive.segments import Line, Place, Segments

Ids = Callable[[Line], Iterator[str]]
"""The ids that a line is found by."""


class SegmentIndex:
    """Finds lines by id in sealed segments. Sixteen bytes an id, read when first asked for."""

    def __init__(self, segments: Segments, ids: Ids) -> None:
        self._segments = segments
        self._ids = ids
        self._tables: dict[int, tuple[NDArray[np.uint64], NDArray[np.uint64]]] = {}

    def make(self, number: int) -> None:
        """Write the index of a segment that was sealed just now."""
        found = [(key(one), place) for place, line in self._lines(number) for one in self._ids(line)]
        table = np.array([[k, place.offset] for k, place in found], np.uint64).reshape(-1, 2)
        table = table[np.argsort(table[:, 0], kind="stable")]
        path = self._path(number)
        aside = path.with_suffix(f".{os.getpid()}.npy")
        np.save(aside, table)
        os.replace(aside, path)

    def find(self, wanted: str) -> Iterator[tuple[int, int]]:
        """(segment's number, offset) of lines that may have this id, newest first."""
        for entry in reversed(self._segments.manifest.of(self._segments.series)):
            hashes, offsets = self._table(entry.number)
            low, high = (
                int(np.searchsorted(hashes, np.uint64(key(wanted)), side)) for side in ("left", "right")
            )
            for place in range(high - 1, low - 1, -1):
                yield entry.number, int(offsets[place])

    def _table(self, number: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        if number not in self._tables:
            if not self._path(number).exists():
                self.make(number)
            table = np.load(self._path(number))
            self._tables[number] = (np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1]))
        return self._tables[number]

    def _lines(self, number: int) -> Iterator[tuple[Place, Line]]:
        for place, line in self._segments.lines(Place(number, 0, 0)):
            if place.number > number:
                return
            yield place, line

    def _path(self, number: int) -> Path:
        return self._segments.folder / f"{self._segments.series}-{number:06d}.npy"


def key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
