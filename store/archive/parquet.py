"""Parquet from sealed segments, for those who analyse: never the other way round."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.archive.manifest import Sealed
from store.archive.segments import Line, Place, Segments
from store.archive.verify import verify
from store.records import Vote

GROUP = 10_000

_VOTE = dict.fromkeys(
    ("entry", "what", "vote_id", "kind", "conversation_id", "duel_id", "answer_id"), "string"
)
_VOTE |= {"annotator": "string", "choice": "string", "strength": "int8"}
_VOTE |= {"version_a": "int32", "version_b": "int32", "tags": "strings", "comment": "string"}
_VOTE |= {"blind": "bool_", "early": "bool_", "leaked": "bool_", "guideline_version": "int32"}
_VOTE |= {"item_id": "string", "check": "string", "status": "string"}
_VOTE |= {"created_at": "time", "changed_at": "time", "answers": "string"}
_CONVERSATION = {"at": "int64"} | dict.fromkeys(
    ("id", "owner", "title", "system_prompt", "messages", "answers", "duels"), "string"
)


def to_parquet(folder: Path, out: Path) -> list[Path]:
    """One file for each sealed segment of votes and conversations; those that are there already are kept.

    Votes: a row for each cast or change. Conversations: a row for each time one was archived, so the newest
    row of an id holds. Raises ArchiveError: a segment is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    verify(folder)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for series, rows, columns in (("votes", _vote, _VOTE), ("conversations", _conversation, _CONVERSATION)):
        schema = pyarrow.schema([(name, _type(pyarrow, kind)) for name, kind in columns.items()])
        segments = Segments(folder, series)
        for sealed in segments.manifest.of(series):
            path = out / f"{series}-{sealed.number:06d}-{sealed.sha256[:12]}.parquet"
            made.append(path)
            if path.exists():
                continue
            aside = path.with_suffix(f".{os.getpid()}.tmp")
            with pyarrow.parquet.ParquetWriter(aside, schema, compression="zstd") as writer:
                for batch in _batches(segments, sealed):
                    found = [row for line in batch for row in rows(line)]
                    writer.write_table(pyarrow.Table.from_pylist(found, schema))
            os.replace(aside, path)
    return made


def _type(pyarrow: Any, kind: str) -> Any:
    if kind == "time":
        return pyarrow.timestamp("us", tz="UTC")
    return pyarrow.list_(pyarrow.string()) if kind == "strings" else getattr(pyarrow, kind)()


def _batches(segments: Segments, sealed: Sealed) -> Iterator[list[Line]]:
    batch: list[Line] = []
    for place, line in segments.lines(Place(sealed.number, 0, 0)):
        if place.number > sealed.number:
            break
        batch.append(line)
        if len(batch) == GROUP:
            yield batch
            batch = []
    if batch:
        yield batch


def _vote(line: Line) -> Iterator[dict[str, Any]]:
    vote = Vote.model_validate_json(line["fields"]["vote"])
    yield {
        "entry": line["entry"],
        "what": line["fields"].get("what", "cast"),
        "vote_id": vote.id,
        "kind": vote.kind,
        "conversation_id": vote.conversation_id,
        "duel_id": vote.duel_id,
        "answer_id": vote.answer_id,
        "annotator": vote.annotator_id,
        "choice": vote.choice,
        "strength": vote.strength,
        "version_a": vote.version_a,
        "version_b": vote.version_b,
        "tags": list(vote.tags),
        "comment": vote.comment,
        "blind": vote.blind,
        "early": vote.early,
        "leaked": vote.leaked,
        "guideline_version": vote.guideline_version,
        "item_id": vote.item_id,
        "check": vote.check,
        "status": vote.status,
        "created_at": vote.created_at,
        "changed_at": vote.changed_at,
        "answers": json.dumps([one.model_dump() for one in vote.answers]),
    }


def _conversation(line: Line) -> Iterator[dict[str, Any]]:
    if "conversation" not in line:
        return
    record = json.loads(line["conversation"])
    nodes = {kind: f"[{','.join(line[kind].values())}]" for kind in ("messages", "answers", "duels")}
    yield {
        "at": line["at"],
        "id": line["id"],
        "owner": record["owner_id"],
        "title": record["title"],
        "system_prompt": record["system_prompt"],
        **nodes,
    }
