"""Export: the votes that a query found, as a data set that `datasets` and TRL read as it is."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from store.conversations import Conversations, Tree, prompt_in
from store.exchange.card import data_card
from store.exchange.columns import as_parquet
from store.exchange.evidence import Format, Row, in_test, rows_of, why_nothing
from store.exchange.manifest import MANIFEST, ExportedFile, Manifest
from store.explorer.table import VoteRow
from store.records import Duel, Vote, now

AT_ONCE = 500

Files = Literal["jsonl", "parquet"]


async def export(
    folder: Path,
    rows: Sequence[VoteRow],
    conversations: Conversations,
    *,
    form: Format,
    query: str,
    files: Files = "jsonl",
) -> Manifest:
    """Make `folder`: train.jsonl, test.jsonl (a tenth of the conversations), README.md, manifest.json.

    With `files` parquet: train.parquet, test.parquet.
    Undone and excluded votes, checks, and votes on deleted conversations are never in it.
    """
    await asyncio.to_thread(folder.mkdir, parents=True)
    left_out: Counter[str] = Counter()
    lines: dict[str, int] = {}
    for start in range(0, len(rows), AT_ONCE):
        batch: dict[str, list[bytes]] = {}
        some = rows[start : start + AT_ONCE]
        names = sorted({row.vote.conversation_id for row in some})
        trees = dict(zip(names, await conversations.trees(names), strict=True))
        for row in some:
            found = _rows(row, trees[row.vote.conversation_id], form)
            if isinstance(found, str):
                left_out[found] += 1
                continue
            name = "test.jsonl" if in_test(row.vote.conversation_id) else "train.jsonl"
            batch.setdefault(name, []).extend(line_of(one) for one in found)
        for name, made in batch.items():
            lines[name] = lines.get(name, 0) + len(made)
            await asyncio.to_thread(append_lines, folder / name, made)
    made_files = await asyncio.to_thread(finished, folder, lines, files)
    manifest = Manifest(
        format=form,
        query=query,
        votes=len(rows),
        used=len(rows) - left_out.total(),
        left_out=dict(sorted(left_out.items())),
        files=made_files,
        sha256=digest_of(made_files),
        created_at=now().isoformat(timespec="seconds"),
    )
    await asyncio.to_thread(
        append_lines, folder / MANIFEST, [manifest.model_dump_json(indent=1).encode() + b"\n"]
    )
    await asyncio.to_thread(append_lines, folder / "README.md", [data_card(manifest).encode()])
    return manifest


def _rows(row: VoteRow, tree: Tree, form: Format) -> list[Row] | str:
    """The vote's rows, or why it has none."""
    vote = row.vote
    reason = why_nothing(row)
    if reason is not None:
        return reason
    names = _answer_ids(vote, tree.duels.get(vote.duel_id or ""))
    said = [tree.answers[one] for one in names if one in tree.answers]
    if tree.conversation is None or not said or len(said) < len(names):
        return "conversation deleted"
    thread = prompt_in(tree, said[0].parent_id)
    return rows_of(vote, thread, said, form) or f"says nothing in the {form} format"


async def answer_ids(vote: Vote, conversations: Conversations) -> list[str]:
    """The answers that a vote is about, in the order shown; of an edit the original, then the edited one."""
    unnamed = vote.duel_id if not vote.answers else None
    return _answer_ids(vote, await conversations.duel(unnamed) if unnamed else None)


def _answer_ids(vote: Vote, duel: Duel | None) -> list[str]:
    if vote.answers:
        return [one.answer_id for one in vote.answers]
    if duel is not None:
        return [duel.answer_a, duel.answer_b]
    return [vote.answer_id] if vote.answer_id else []


def line_of(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def append_lines(path: Path, lines: list[bytes]) -> None:
    with open(path, "ab") as file:
        file.writelines(lines)


def finished(folder: Path, lines: dict[str, int], files: Files) -> dict[str, ExportedFile]:
    """The written files of JSON lines (name -> rows), made Parquet where that is wanted, and described."""
    made = {}
    for name in sorted(lines):
        path = as_parquet(folder / name) if files == "parquet" else folder / name
        made[path.name] = _described(path, lines[name])
    return made


def _described(path: Path, rows: int) -> ExportedFile:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ExportedFile(rows=rows, bytes=path.stat().st_size, sha256=digest)


def digest_of(files: dict[str, ExportedFile]) -> str:
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
