"""The manifest of an export: what is in it, and what it was made from."""

from __future__ import annotations

from pydantic import Field

from store.exchange.evidence import Format
from store.records import Record

MANIFEST = "manifest.json"


class ExportedFile(Record):
    rows: int
    bytes: int
    sha256: str


class Manifest(Record):
    """What is in an export, and what it was made from."""

    format: Format
    query: str
    """The explorer's query, as typed; empty: every vote."""
    votes: int
    """Votes that the query found."""
    used: int
    """Votes with at least one row."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Why votes have no row -> how many."""
    files: dict[str, ExportedFile]
    sha256: str
    """Of the files' names and digests."""
    snapshot: str | None = None
    """Digest of the frozen data set of `run_id`, when that was exported and not the votes as they are."""
    run_id: str | None = None
    created_at: str
