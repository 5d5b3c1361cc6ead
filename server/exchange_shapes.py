"""What export and import of votes take and give."""

from __future__ import annotations

from datetime import datetime

from server.shapes import In, Out
from store.exchange.read import LineProblem, Read
from store.imports import ImportSet
from store.records import ChatTurn


class LineProblemOut(Out):
    line: int
    field: str | None
    message: str


class PreviewRow(Out):
    """One imported row as Heed understood it; a single answer has one side empty."""

    prompt: list[ChatTurn]
    chosen: list[ChatTurn]
    rejected: list[ChatTurn]


class ImportSetOut(Out):
    id: str
    name: str
    tag: str
    pairs: int
    shapes: dict[str, int]
    sha256: str
    in_use: bool
    created_at: datetime


class ImportReport(Out):
    """What a file holds, line by line, before or after it was kept."""

    pairs: int
    shapes: dict[str, int]
    """`preference`, `unpaired`, `sft` -> rows."""
    refused: int
    duplicates: int
    problems: list[LineProblemOut]
    """The first fifty."""
    preview: list[PreviewRow]
    """The first five."""
    kept: ImportSetOut | None
    """None after a dry run."""


class ImportPage(Out):
    items: list[ImportSetOut]


class ImportChange(In):
    in_use: bool


def set_out(one: ImportSet) -> ImportSetOut:
    return ImportSetOut.model_validate(one.model_dump(exclude={"actor"}))


def report(read: Read, kept: ImportSet | None) -> ImportReport:
    return ImportReport(
        pairs=len(read.pairs),
        shapes=dict(read.shapes),
        refused=read.refused,
        duplicates=read.duplicates,
        problems=[_problem(one) for one in read.problems],
        preview=[
            PreviewRow(prompt=list(one.prompt), chosen=list(one.chosen), rejected=list(one.rejected))
            for one in read.pairs[:5]
        ],
        kept=set_out(kept) if kept else None,
    )


def _problem(one: LineProblem) -> LineProblemOut:
    return LineProblemOut(line=one.line, field=one.field, message=one.message)
