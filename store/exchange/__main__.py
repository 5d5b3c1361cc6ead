"""`python -m store.exchange export|import`: votes out and preference data in, without the web page."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import get_args

from store.connection import connect
from store.conversations import Conversations
from store.exchange.evidence import Format
from store.exchange.export import export
from store.exchange.read import read_lines
from store.explorer.index import VoteIndex
from store.explorer.query import QueryError, parse
from store.imports import Imports
from store.settings import StoreSettings


async def export_votes(settings: StoreSettings, out: Path, form: Format, query: str) -> str:
    """Write the data set to the new folder `out`; one line about it."""
    async with connect(settings.redis) as redis:
        table = await VoteIndex(redis, settings.data).refresh()
        rows = table.select(parse(query))
        made = await export(out, rows, Conversations(redis, settings.data), form=form, query=query)
    return f"{out}: {made.used} of {made.votes} votes, {sum(file.rows for file in made.files.values())} rows"


async def import_pairs(settings: StoreSettings, path: Path, tag: str, dry_run: bool) -> str:
    """Keep the file's pairs; a few lines about them."""
    read = read_lines((await asyncio.to_thread(path.read_bytes)).splitlines(), tag)
    said = [f"{path}: {len(read.pairs)} rows, {read.refused} refused, {read.duplicates} twice"]
    said += [f"  line {one.line}: {one.field or 'row'} {one.message}" for one in read.problems]
    if read.pairs and not dry_run:
        async with connect(settings.redis) as redis:
            kept = await Imports(redis, settings.data).add(
                read.pairs, name=path.name, tag=tag, shapes=dict(read.shapes), actor="command line"
            )
        said.append(f"kept as {kept.id}: the next training takes it")
    return "\n".join(said)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m store.exchange", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    out = commands.add_parser("export", help="the votes that a query finds, in a format of TRL's")
    out.add_argument(
        "folder", type=Path, help="new folder: train.jsonl, test.jsonl, README.md, manifest.json"
    )
    out.add_argument("--format", choices=get_args(Format), default="preference")
    out.add_argument("--query", default="", help="as in the explorer; default: every vote")
    into = commands.add_parser("import", help="JSON lines in a format of TRL's, HH-RLHF's or UltraFeedback's")
    into.add_argument("file", type=Path)
    into.add_argument("--tag", required=True, help="every imported pair carries it")
    into.add_argument("--dry-run", action="store_true", help="only say what is in the file")
    given = parser.parse_args(arguments)
    settings = StoreSettings()
    try:
        if given.command == "export":
            said = asyncio.run(export_votes(settings, given.folder, given.format, given.query))
        else:
            said = asyncio.run(import_pairs(settings, given.file, given.tag, given.dry_run))
    except (QueryError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(said + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
