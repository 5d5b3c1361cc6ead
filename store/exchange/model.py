"""A version as a Hugging Face folder: the sealed files, and a card that says where it comes from."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from store.artifacts import CHUNK, ArtifactError, verify
from store.lineage import Lineage
from store.policies import Policies
from store.records import PolicyVersion, Run
from store.runs import Runs

CARD = "README.md"
What = Literal["policy", "reward_model"]
BLOCK = tarfile.BLOCKSIZE


class ModelExport(NamedTuple):
    """What an export consists of; `files` are copied, the card replaces the folder's own."""

    name: str
    folder: Path
    files: tuple[str, ...]
    card: str


async def model_export(
    volume: Path, policies: Policies, runs: Runs, lineage: Lineage, number: int, what: What
) -> ModelExport:
    """Look the version up and hash its files. Raises KeyError: there is none; ArtifactError: damaged."""
    version = await policies.get(number)
    if version is None or (what == "reward_model" and version.reward_model is None):
        raise KeyError(number)
    if what == "policy":
        folder = policies.folder(version)
    else:
        folder = volume / "reward_models" / f"v{version.reward_model:04d}"
    try:
        manifest = await asyncio.to_thread(verify, folder)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is missing: put it back from a copy of the volume") from None
    run = await runs.get(version.run_id) if version.run_id else None
    tainted = len(await lineage.tainted_by(run.id)) if run else 0
    own = await asyncio.to_thread(_own_card, folder)
    name = f"heed-{'policy' if what == 'policy' else 'reward-model'}-v{number}"
    files = tuple(sorted(set(manifest["files"]) - {CARD}))
    return ModelExport(name, folder, files, own + lineage_part(version, run, tainted, manifest, what))


def lineage_part(
    version: PolicyVersion, run: Run | None, tainted: int, manifest: dict[str, object], what: What
) -> str:
    """What the platform knows of a version beyond its training: parents, votes, data, gates, digests."""
    rows = [
        ("version", f"v{version.number}, {version.state}"),
        ("parent", f"v{version.parent}" if version.parent else "none: the base model"),
        ("made", version.created_at.isoformat(timespec="seconds")),
    ]
    if what == "policy" and version.reward_model:
        rows.append(("reward model", f"v{version.reward_model}"))
    snapshot = run.snapshot if run else None
    if run and snapshot:
        rows += [
            ("run", f"{run.id}, requested by {run.requested_by}"),
            ("votes", f"{snapshot.votes}, of which {snapshot.new_votes} new pairs' votes"),
            ("pairs", f"{snapshot.train_pairs} train, {snapshot.held_out_pairs} held out"),
            ("votes taken back since", str(tainted)),
            ("data", f"SHA-256 `{snapshot.sha256}`"),
        ]
    rows.append(("files", f"SHA-256 `{manifest['sha256']}`"))
    parts = ["\n## In Heed\n", _table(("what", "value"), rows)]
    if what == "policy" and version.report:
        checks = [
            (one.name, f"{one.value:.4g}", f"{one.threshold:.4g}", "yes" if one.passed else "no", one.reason)
            for one in version.report.checks
        ]
        passed = "passed" if version.report.passed else "did not pass"
        head = ("check", "value", "threshold", "passed", "why")
        parts += [f"\n## Gate\n\nIt {passed}.\n", _table(head, checks)]
    return "\n".join(parts)


def tar(export: ModelExport) -> tuple[int, Iterator[bytes]]:
    """(length, bytes) of a tar, not compressed, as weights hardly are; in memory a block at a time."""
    card = export.card.encode()
    sizes = [(name, (export.folder / name).stat().st_size) for name in export.files]
    heads = {name: _head(f"{export.name}/{name}", size) for name, size in [*sizes, (CARD, len(card))]}
    length = sum(len(heads[name]) + _padded(size) for name, size in [*sizes, (CARD, len(card))]) + 2 * BLOCK

    def parts() -> Iterator[bytes]:
        for name, size in sizes:
            yield heads[name]
            with open(export.folder / name, "rb") as file:
                while block := file.read(CHUNK):
                    yield block
            yield b"\0" * (_padded(size) - size)
        yield heads[CARD] + card + b"\0" * (_padded(len(card)) - len(card)) + b"\0" * 2 * BLOCK

    return length, parts()


def write_folder(export: ModelExport, out: Path) -> None:
    """The same as a new folder. Raises FileExistsError."""
    out.mkdir(parents=True)
    for name in export.files:
        shutil.copyfile(export.folder / name, out / name)
    (out / CARD).write_text(export.card, encoding="utf-8")


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _own_card(folder: Path) -> str:
    """The trainer's card; for a folder without one a short card, with the licence of nobody."""
    try:
        return (folder / CARD).read_text(encoding="utf-8").rstrip() + "\n"
    except FileNotFoundError:
        config = json.loads((folder / "config.json").read_text()) if (folder / "config.json").exists() else {}
        kind = re.sub(r"[^\w ,]", "", ", ".join(config.get("architectures", []))) or "unknown"
        return (
            f"---\nlibrary_name: transformers\ntags: [rlhf, heed]\n---\n\n# Model\n\nArchitecture: {kind}.\n"
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [" | ".join(cell.replace("|", "/").replace("\n", " ") for cell in line) for line in lines]
    return "\n".join(f"| {line} |" for line in cells) + "\n"
