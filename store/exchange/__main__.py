"""`python -m store.exchange export|version|import`: data and models out, data in, without the page."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import get_args

from store.artifacts import ArtifactError
from store.connection import connect
from store.conversations import Conversations
from store.exchange.evidence import Format
from store.exchange.export import Files, export
from store.exchange.frozen import exported_snapshot
from store.exchange.model import What, model_export, write_folder
from store.exchange.read import read_lines
from store.explorer.index import VoteIndex
from store.explorer.query import QueryError, parse
from store.imports import Imports
from store.lineage import Lineage
from store.policies import Policies
from store.runs import Runs
from store.settings import StoreSettings


async def export_votes(settings: StoreSettings, out: Path, form: Format, query: str, files: Files) -> str:
    """Write the data set to the new folder `out`; one line about it."""
    async with connect(settings.redis) as redis:
        table = await VoteIndex(redis, settings.data).refresh()
        rows = table.select(parse(query))
        made = await export(
            out, rows, Conversations(redis, settings.data), form=form, query=query, files=files
        )
    return f"{out}: {made.used} of {made.votes} votes, {sum(file.rows for file in made.files.values())} rows"


async def export_version(settings: StoreSettings, out: Path, number: int, what: What) -> str:
    """Write a version as a Hugging Face folder; one line about it."""
    async with connect(settings.redis) as redis:
        policies = Policies(redis, settings.data)
        made = await model_export(settings.data, policies, Runs(redis), Lineage(redis), number, what)
    await asyncio.to_thread(write_folder, made, out)
    return f"{out}: {made.name}, {len(made.files) + 1} files"


async def export_frozen(settings: StoreSettings, out: Path, form: Format, run_id: str, files: Files) -> str:
    """Write a training's frozen data set to the new folder `out`; one line about it."""
    async with connect(settings.redis) as redis:
        run = await Runs(redis).get(run_id)
    if run is None or run.snapshot is None:
        raise OSError(f"there is no training {run_id} with a frozen data set")
    data = settings.data / "runs" / run.id / "snapshot"
    made = await exported_snapshot(out, data, run.snapshot, form, files)
    return f"{out}: {sum(file.rows for file in made.files.values())} rows of {run_id}"


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
    out.add_argument("--files", choices=get_args(Files), default="jsonl")
    out.add_argument("--run", help="the frozen data set of this training instead of the votes as they are")
    model = commands.add_parser("version", help="a version as a Hugging Face folder with a card")
    model.add_argument("number", type=int)
    model.add_argument("folder", type=Path, help="new folder")
    model.add_argument("--reward-model", action="store_true", help="the reward model that came with it")
    into = commands.add_parser("import", help="JSON lines in a format of TRL's, HH-RLHF's or UltraFeedback's")
    into.add_argument("file", type=Path)
    into.add_argument("--tag", required=True, help="every imported pair carries it")
    into.add_argument("--dry-run", action="store_true", help="only say what is in the file")
    given = parser.parse_args(arguments)
    if given.command == "export" and given.run and given.query:
        out.error(
            "--query does not go with --run: a training's data set is exported whole; leave one of them out"
        )
    settings = StoreSettings()
    try:
        if given.command == "version":
            what: What = "reward_model" if given.reward_model else "policy"
            said = asyncio.run(export_version(settings, given.folder, given.number, what))
        elif given.command == "export" and given.run:
            said = asyncio.run(export_frozen(settings, given.folder, given.format, given.run, given.files))
        elif given.command == "export":
            said = asyncio.run(export_votes(settings, given.folder, given.format, given.query, given.files))
        else:
            said = asyncio.run(import_pairs(settings, given.file, given.tag, given.dry_run))
    except KeyError as error:
        sys.stderr.write(f"there is no version {error}, or it came without a reward model\n")
        return 1
    except (QueryError, ArtifactError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(said + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
