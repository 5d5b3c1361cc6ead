"""Votes out as a data set in TRL's formats, and preference data of others in."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, StreamingResponse

from server.auditing import Noted
from server.dependencies import Engineer, Heed, Watcher
from server.errors import Problem, not_found
from server.exchange_shapes import ImportChange, ImportPage, ImportReport, ImportSetOut, report, set_out
from server.routes.explorer import QueryText
from server.routes.training import KnownRun, folder_of
from server.routes.versions import KnownVersion
from store.artifacts import ArtifactError
from store.exchange.evidence import Format
from store.exchange.export import Files, export
from store.exchange.frozen import exported_snapshot
from store.exchange.manifest import Manifest
from store.exchange.model import What, model_export, tar
from store.exchange.read import read_lines
from store.records import now

router = APIRouter(prefix="/api/v1", tags=["exchange"])

IMPORT_LIMIT = 64 * 1024 * 1024
IMPORT_TIMEOUT_S = 120.0
Label = Annotated[str, Query(min_length=1, max_length=80, pattern=r"^[\w][\w .\-]*$")]


@router.get("/exports", response_class=FileResponse)
async def export_votes(
    heed: Heed,
    _: Watcher,
    note: Noted,
    format: Annotated[Format, Query()] = "preference",
    q: QueryText = "",
    files: Annotated[Files, Query()] = "jsonl",
) -> FileResponse:
    """A zip of exactly the votes that the query finds: train.jsonl, test.jsonl (or .parquet), README.md,
    manifest.json.
    """
    rows = await heed.explorer.rows(q)
    name = f"heed-{format}-{now():%Y%m%d-%H%M%S}"

    async def make(folder: Path) -> Manifest:
        return await export(folder, rows, heed.conversations, form=format, query=q, files=files)

    manifest, response = await _as_zip(name, make)
    after = {"format": format, "query": q, "votes": manifest.used, "sha256": manifest.sha256}
    await note("export_votes", name, after=after)
    return response


@router.get("/runs/{run_id}/data", response_class=FileResponse)
async def export_run_data(
    run: KnownRun,
    heed: Heed,
    _: Watcher,
    note: Noted,
    format: Annotated[Format, Query()] = "preference",
    files: Annotated[Files, Query()] = "jsonl",
) -> FileResponse:
    """A zip of the training's frozen data set: what its reward model and policy learned from."""
    snapshot, data = run.snapshot, folder_of(heed, run) / "snapshot"
    if snapshot is None or not await asyncio.to_thread(data.is_dir):
        raise not_found("data set of this training")
    name = f"heed-{format}-{run.id}"

    async def make(folder: Path) -> Manifest:
        return await exported_snapshot(folder, data, snapshot, format, files)

    manifest, response = await _as_zip(name, make)
    await note("export_run_data", run.id, after={"format": format, "sha256": manifest.sha256})
    return response


@router.get("/policies/{number}/download", response_class=StreamingResponse)
async def download_version(
    version: KnownVersion, heed: Heed, _: Engineer, note: Noted, what: Annotated[What, Query()] = "policy"
) -> StreamingResponse:
    """The version, or the reward model that came with it, as a Hugging Face folder in a tar file."""
    try:
        made = await model_export(
            heed.settings.data, heed.policies, heed.runs, heed.lineage, version.number, what
        )
    except KeyError:
        raise not_found("reward model of this version") from None
    except ArtifactError as error:
        remedy = "put the folder back from a copy of the volume"
        raise Problem(409, "damaged_version", str(error), remedy=remedy) from None
    length, parts = await asyncio.to_thread(tar, made)
    await note("download_version", f"v{version.number}", after={"what": what})
    headers = {
        "Content-Length": str(length),
        "Content-Disposition": f'attachment; filename="{made.name}.tar"',
    }
    return StreamingResponse(parts, media_type="application/x-tar", headers=headers)


@router.get("/imports")
async def list_imports(heed: Heed, _: Watcher) -> ImportPage:
    """Imported sets, newest first."""
    return ImportPage(items=[set_out(one) for one in await heed.imports.all()])


@router.post("/imports", status_code=201)
async def import_pairs(
    request: Request, heed: Heed, me: Engineer, note: Noted, name: Label, tag: Label, dry_run: bool = False
) -> ImportReport:
    """JSON lines in TRL's preference, unpaired or SFT format, HH-RLHF's or UltraFeedback's.

    The body is the file. With `dry_run` nothing is kept. Trainings take the rows of every set in use.
    """
    lines = (await _body(request)).splitlines()
    read = await asyncio.to_thread(read_lines, lines, tag)
    if dry_run:
        return report(read, None)
    if not read.pairs:
        raise Problem(
            422, "nothing_to_import", "no line of the file is a row of a known shape",
            field="body", remedy="import with `dry_run=true` to see what is wrong with each line",
        )  # fmt: skip
    kept = await heed.imports.add(read.pairs, name=name, tag=tag, shapes=dict(read.shapes), actor=me.id)
    after = {"name": name, "tag": tag, "pairs": kept.pairs, "sha256": kept.sha256}
    await note("import_pairs", kept.id, after=after)
    return report(read, kept)


@router.patch("/imports/{import_id}")
async def change_import(
    import_id: str, body: ImportChange, heed: Heed, _: Engineer, note: Noted
) -> ImportSetOut:
    """Take a set out of the next trainings, or into them again."""
    changed = await heed.imports.use(import_id, body.in_use)
    if changed is None:
        raise not_found("import")
    await note("use_import", import_id, after={"in_use": body.in_use})
    return set_out(changed)


async def _body(request: Request) -> bytes:
    """The whole file. Raises Problem 413 and 408."""
    data = bytearray()
    try:
        async with asyncio.timeout(IMPORT_TIMEOUT_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > IMPORT_LIMIT:
                    detail = f"the file is larger than {IMPORT_LIMIT >> 20} MiB"
                    raise Problem(413, "too_large", detail, field="body", remedy="import it in parts")
    except TimeoutError:
        detail = f"the file did not arrive within {IMPORT_TIMEOUT_S:.0f} s"
        raise Problem(408, "too_slow", detail, remedy="import it in parts") from None
    return bytes(data)


async def _as_zip(name: str, make: Callable[[Path], Awaitable[Manifest]]) -> tuple[Manifest, FileResponse]:
    """What `make` puts into a folder of this name, as one file that is removed when it was sent."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="heed-export-"))
    try:
        manifest = await make(folder / name)
        archive = await asyncio.to_thread(_zipped, folder / name)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    response = FileResponse(
        archive,
        media_type="application/zip",
        filename=archive.name,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
    return manifest, response


def _zipped(folder: Path) -> Path:
    """The folder as one archive beside it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, f"{folder.name}/{path.name}")
    return archive
