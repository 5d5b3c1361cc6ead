"""Every vote as a row in memory, and an array of codes a facet: 100,000 are counted in milliseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.explorer.query import FACETS, Query, pair_name
from store.records import Vote
from store.statistics.judged import Style

Mask = NDArray[np.bool_]
DAY_S = 86400.0
BARS = 60
MOST_VALUES = 200
WORDS_KEPT = 64


class VoteRow(NamedTuple):
    """One vote with what it is found by. Texts are cut; the detail has them whole."""

    vote: Vote
    annotator: str
    """Name of the account, its id when the account is gone."""
    prompt: str
    versions: tuple[int, ...]
    """In the order shown."""
    script: str
    unit: str
    """What was judged: votes with the same unit are about the same texts."""
    label: str
    """What was said of the unit, whatever side it was on: agreement is measured on it."""
    styles: tuple[Style, ...] = ()
    deleted: bool = False
    """Its conversation was deleted: it counts no more, and has no texts."""
    margin: float | None = None
    """Score of a minus score of b, by the reward model that had not seen the vote."""
    used: tuple[int, ...] = ()
    """Policy versions that were trained on it."""
    review: str | None = None
    """The reviewer's verdict, kept apart from the annotator's."""
    said: str = ""
    """How the answers begin, to be searched."""


def facet_values(row: VoteRow) -> dict[str, tuple[str, ...]]:
    """What the row counts as, facet by facet."""
    vote = row.vote
    versions = tuple(f"v{number}" for number in sorted(set(row.versions), reverse=True))
    two = len(row.versions) == 2 and vote.kind == "duel"
    return {
        "kind": (vote.kind,),
        "outcome": (vote.choice,),
        "strength": ("much",) if vote.strength == 2 else (),
        "version": versions,
        "pair": (pair_name(*row.versions),) if two else (),
        "annotator": (row.annotator,),
        "tag": vote.tags,
        "guideline": (str(vote.guideline_version),) if vote.guideline_version is not None else ("none",),
        "flag": _flags(row),
        "rm": (_reward_model(row),),
        "status": (vote.status,),
        "review": (_review(row),),
        "used": tuple(f"v{number}" for number in row.used) or ("never",),
        "script": (row.script,),
    }


def _flags(row: VoteRow) -> tuple[str, ...]:
    vote = row.vote
    found = {"blind": vote.blind, "open": not vote.blind, "leaked": vote.leaked, "early": vote.early}
    found |= {"check": vote.check is not None, "deleted": row.deleted}
    return *(name for name, holds in found.items() if holds), *vote.flags


def _reward_model(row: VoteRow) -> str:
    if row.margin is None or row.vote.choice not in ("a", "b"):
        return "unknown"
    return "agree" if (row.margin > 0) == (row.vote.choice == "a") else "disagree"


def _review(row: VoteRow) -> str:
    if row.review is None:
        return "none"
    return "agrees" if row.review == row.vote.choice else "differs"


class _Column:
    """One facet: a code a row, and the values behind each code."""

    def __init__(self) -> None:
        self._codes = np.zeros(1024, dtype=np.int32)
        self._values: list[tuple[str, ...]] = []
        self._code_of: dict[tuple[str, ...], int] = {}

    def put(self, row: int, values: tuple[str, ...]) -> None:
        if row >= len(self._codes):
            self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
        if values not in self._code_of:
            self._code_of[values] = len(self._values)
            self._values.append(values)
        self._codes[row] = self._code_of[values]

    def holds(self, wanted: frozenset[str], rows: int) -> Mask:
        """(rows,): has any of the wanted values."""
        answer = np.array([not wanted.isdisjoint(values) for values in self._values] or [False])
        return np.asarray(answer[self._codes[:rows]])

    def counts(self, mask: Mask) -> Counter[str]:
        found: Counter[str] = Counter()
        codes = np.bincount(self._codes[: len(mask)][mask], minlength=len(self._values))
        for values, count in zip(self._values, codes.tolist(), strict=False):
            for value in values:
                found[value] += count
        return +found


class Bar(NamedTuple):
    """Votes between two moments, in seconds since 1970."""

    start: float
    end: float
    votes: int


class Page(NamedTuple):
    rows: list[VoteRow]
    next: int | None
    """Pass it back to go on; None at the end."""
    total: int


class VoteTable:
    """Rows in the order of the votes. A row may change, its place never does, so a place is a cursor."""

    def __init__(self) -> None:
        self.rows: list[VoteRow] = []
        self._place: dict[str, int] = {}
        self._columns = {facet: _Column() for facet in FACETS}
        self._times = np.zeros(1024)
        self._margins = np.zeros(1024)
        self._texts: list[str] = []
        self._units: dict[str, list[int]] = {}
        self._found: dict[str, Mask] = {}
        """Word -> the rows that hold it, as far as they were looked through."""

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, vote_id: str) -> VoteRow | None:
        place = self._place.get(vote_id)
        return None if place is None else self.rows[place]

    def same_unit(self, row: VoteRow) -> list[VoteRow]:
        """The other votes on the same texts, oldest first."""
        found = [self.rows[place] for place in self._units.get(row.unit, ())]
        return [one for one in found if one.vote.id != row.vote.id]

    def put(self, row: VoteRow) -> None:
        """Append a row, or replace the one of the same vote."""
        place = self._place.setdefault(row.vote.id, len(self.rows))
        text = f"{row.prompt}\n{row.vote.comment or ''}\n{row.said}".lower()
        if place == len(self.rows):
            self.rows.append(row)
            self._texts.append(text)
            self._units.setdefault(row.unit, []).append(place)
        else:
            self.rows[place] = row
            if self._texts[place] != text:
                self._texts[place] = text
                self._found.clear()
        if place >= len(self._times):
            self._times = np.concatenate([self._times, np.zeros_like(self._times)])
            self._margins = np.concatenate([self._margins, np.zeros_like(self._margins)])
        self._times[place] = row.vote.created_at.timestamp()
        self._margins[place] = abs(row.margin or 0.0)
        for facet, values in facet_values(row).items():
            self._columns[facet].put(place, values)

    def page(self, query: Query, cursor: int | None = None, limit: int = 50) -> Page:
        """Newest first, those before the cursor."""
        places = np.flatnonzero(self._mask(query))
        older = places if cursor is None else places[places < cursor]
        shown = older[-limit:][::-1].tolist()
        more = len(older) > limit
        return Page([self.rows[place] for place in shown], shown[-1] if more else None, len(places))

    def select(self, query: Query) -> list[VoteRow]:
        """Every row that the query finds, oldest first."""
        return [self.rows[place] for place in np.flatnonzero(self._mask(query)).tolist()]

    def facets(self, query: Query) -> dict[str, list[tuple[str, int]]]:
        """Facet -> (value, votes), most first. A facet's own choice does not narrow its own counts."""
        masks = self._masks(query)
        found = {}
        for facet, column in self._columns.items():
            others = [mask for name, mask in masks.items() if name != facet]
            counts = column.counts(_all(others, len(self)))
            for chosen in query.any_of.get(facet, ()):
                counts.setdefault(chosen, 0)
            found[facet] = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_VALUES]
        return found

    def histogram(self, query: Query) -> list[Bar]:
        """Votes over time, at most 60 bars of whole days (in UTC), whatever range the query asks for."""
        masks = self._masks(query)
        masks.pop("time", None)
        times = self._times[: len(self)][_all(masks.values(), len(self))]
        if not len(times):
            return []
        first, last = float(times.min() // DAY_S), float(times.max() // DAY_S)
        days = int((last - first) // BARS) + 1
        edges = np.arange(first, last + days + 1, days) * DAY_S
        counts, _ = np.histogram(times, edges)
        return [Bar(float(edges[i]), float(edges[i + 1]), int(count)) for i, count in enumerate(counts)]

    def _mask(self, query: Query) -> Mask:
        return _all(self._masks(query).values(), len(self))

    def _masks(self, query: Query) -> dict[str, Mask]:
        """One mask for each thing that the query asks."""
        n = len(self)
        masks: dict[str, Mask] = {}
        for facet, wanted in query.any_of.items():
            masks[facet] = self._columns[facet].holds(wanted, n)
        for facet, unwanted in query.none_of.items():
            masks[f"-{facet}"] = ~self._columns[facet].holds(unwanted, n)
        times = self._times[:n]
        if query.after is not None or query.before is not None:
            low = -np.inf if query.after is None else query.after
            high = np.inf if query.before is None else query.before
            masks["time"] = (times >= low) & (times < high)
        if query.margin is not None:
            masks["margin"] = self._margins[:n] >= query.margin
        for word in query.words:
            masks[f"word {word}"] = self._holding(word)
        return masks

    def _holding(self, word: str) -> Mask:
        """Which texts hold the word. Only those that came since it was last asked for are looked through."""
        known = self._found.pop(word, np.zeros(0, dtype=np.bool_))
        new = self._texts[len(known) :]
        there = np.fromiter((word in text for text in new), np.bool_, len(new))
        mask: Mask = np.concatenate([known, there])
        if len(self._found) >= WORDS_KEPT:
            self._found.pop(next(iter(self._found)))
        self._found[word] = mask
        return mask


def _all(masks: Iterable[Mask], n: int) -> Mask:
    found = np.ones(n, dtype=np.bool_)
    for mask in masks:
        found &= mask
    return found
