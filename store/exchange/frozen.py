"""A training's frozen data set in TRL's formats: exactly what the reward model and PPO learned from."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from store.exchange.card import data_card
from store.exchange.evidence import Format, Row
from store.exchange.export import Files, append_lines, digest_of, finished, line_of
from store.exchange.manifest import MANIFEST, Manifest
from store.records import Demonstration, PreferencePair, Snapshot, now

SPLITS = {"train.jsonl": "train.jsonl", "held_out.jsonl": "test.jsonl"}
"""The run's file -> the split of the export: what was held out there is `test` here."""


def export_snapshot(
    folder: Path, frozen: Path, snapshot: Snapshot, form: Format, files: Files = "jsonl"
) -> Manifest:
    """Make `folder` from a run's data set: as `export`, and manifest and card name the data set's digest.

    Ties are in no format of TRL's: they are counted. Raises FileNotFoundError when the data set is gone.
    """
    folder.mkdir(parents=True)
    lines: dict[str, list[bytes]] = {}
    votes: set[str] = set()
    left_out: dict[str, int] = {}
    if form == "sft":
        for one in _demonstrations(frozen / "demonstrations.jsonl"):
            lines.setdefault("train.jsonl", []).append(line_of(_demonstration(one)))
            votes.add(one.vote_id)
    else:
        for source, target in SPLITS.items():
            for pair in pairs_in(frozen / source):
                row = row_of(pair, form)
                if row is None:
                    reason = "tie" if pair.preference == 0.5 else f"says nothing in the {form} format"
                    left_out[reason] = left_out.get(reason, 0) + 1
                    continue
                lines.setdefault(target, []).append(line_of(row))
                votes.add(pair.vote_id or "")
    for name, some in lines.items():
        append_lines(folder / name, some)
    made_files = finished(folder, {name: len(some) for name, some in lines.items()}, files)
    manifest = Manifest(
        format=form,
        query="",
        votes=snapshot.votes,
        used=len(votes - {""}),
        left_out=left_out,
        files=made_files,
        sha256=digest_of(made_files),
        created_at=now().isoformat(timespec="seconds"),
        snapshot=snapshot.sha256,
        run_id=snapshot.run_id,
    )
    append_lines(folder / MANIFEST, [manifest.model_dump_json(indent=1).encode() + b"\n"])
    append_lines(folder / "README.md", [data_card(manifest).encode()])
    return manifest


async def exported_snapshot(
    folder: Path, frozen: Path, snapshot: Snapshot, form: Format, files: Files = "jsonl"
) -> Manifest:
    return await asyncio.to_thread(export_snapshot, folder, frozen, snapshot, form, files)


def row_of(pair: PreferencePair, form: Format) -> Row | None:
    """The pair in this format; None when it says nothing in it."""
    lineage = {
        "conversation_id": pair.conversation_id,
        "vote_id": pair.vote_id,
        "source": pair.source,
        "tags": list(pair.tags),
        "weight": pair.weight,
        "chosen_ended": pair.chosen_ended,
        "rejected_ended": pair.rejected_ended,
    }
    prompt = [turn.model_dump() for turn in pair.prompt]
    chosen, rejected = ([turn.model_dump() for turn in side] for side in (pair.chosen, pair.rejected))
    if form == "preference" and chosen and rejected and pair.preference == 1.0:
        more = {"margin": pair.margin, "ranking_id": pair.ranking_id}
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **lineage, **more}
    if form == "unpaired" and not (chosen and rejected):
        return {"prompt": prompt, "completion": chosen or rejected, "label": bool(chosen), **lineage}
    return None


def pairs_in(path: Path) -> Iterator[PreferencePair]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield PreferencePair.model_validate_json(line)


def pairs_digest(pairs: Iterable[PreferencePair]) -> str:
    """One hash for what pairs teach, whoever said it: the same after an export and an import."""
    taught = {"prompt", "chosen", "rejected", "weight", "margin", "chosen_ended", "rejected_ended"}
    said = sorted({pair.model_dump_json(include=taught) for pair in pairs})
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _demonstrations(path: Path) -> Iterator[Demonstration]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield Demonstration.model_validate_json(line)


def _demonstration(one: Demonstration) -> Row:
    turns = [turn.model_dump() for turn in (*one.prompt, *one.chosen)]
    return {"messages": turns, "vote_id": one.vote_id, "conversation_id": one.conversation_id}
