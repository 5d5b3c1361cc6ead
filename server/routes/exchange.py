"""Votes out as a data set in TRL's formats, and preference data of others in."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from server.auditing import Noted
from server.dependencies import Engineer, Heed, Watcher
from server.errors import Problem, not_found
from server.exchange_shapes import ImportChange, ImportPage, ImportReport, ImportSetOut, report, set_out
from server.routes.explorer import QueryText
from store.exchange.evidence import Format
from store.exchange.export import export
from store.exchange.read import read_lines
from store.records import now

router = APIRouter(prefix="/api/v1", tags=["exchange"])

IMPORT_LIMIT = 64 * 1024 * 1024
IMPORT_TIMEOUT_S = 120.0
Label = Annotated[str, Query(min_length=1, max_length=80, pattern=r"^[\w][\w .\-]*$")]


@router.get("/exports", response_class=FileResponse)
async def export_votes(
    heed: Heed, _: Watcher, note: Noted, format: Annotated[Format, Query()] = "preference", q: QueryText = ""
) -> FileResponse:
    """A zip of exactly the votes that the query finds: train.jsonl, test.jsonl, README.md, manifest.json."""
    rows = await heed.explorer.rows(q)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="heed-export-"))
    try:
        name = f"heed-{format}-{now():%Y%m%d-%H%M%S}"
        manifest = await export(folder / name, rows, heed.conversations, form=format, query=q)
        archive = await asyncio.to_thread(_zipped, folder / name)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        raise
    after = {"format": format, "query": q, "votes": manifest.used, "sha256": manifest.sha256}
    await note("export_votes", name, after=after)
    return FileResponse(
        archive,
        media_type="application/zip",
        filename=archive.name,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


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


def _zipped(folder: Path) -> Path:
    """The folder as one archive beside it."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=5) as file:
        for path in sorted(folder.iterdir()):
            file.write(path, f"{folder.name}/{path.name}")
    return archive
