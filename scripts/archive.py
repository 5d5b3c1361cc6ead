"""`python -m scripts.archive verify|restore|parquet`: look after the archive without the server.

    python -m scripts.archive verify [FOLDER]
    python -m scripts.archive restore FOLDER     fill an empty Redis (`make restore FROM=FOLDER`)
    python -m scripts.archive parquet OUT [FOLDER]

FOLDER is HEED_DATA/archive unless it is given.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.accounts import Accounts
from store.archive.manifest import ArchiveError
from store.archive.restore import Restored, bring, restore
from store.archive.state import NOT_ARCHIVED
from store.archive.verify import Report, verify
from store.archive.vote_rows import archive_folder
from store.connection import StoreUnavailable, available, connect
from store.embedded import find_server_binary, server_arguments
from store.invites import Invites
from store.settings import StoreSettings

LINK_HOURS = 24


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.archive", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    look = commands.add_parser("verify", help="read and hash every segment")
    look.add_argument("folder", type=Path, nargs="?", help="default: HEED_DATA/archive")
    back = commands.add_parser("restore", help="fill an empty Redis from an archive")
    back.add_argument("folder", type=Path)
    table = commands.add_parser("parquet", help="Parquet files of the sealed segments")
    table.add_argument("out", type=Path, help="folder; files that are there already are kept")
    table.add_argument("folder", type=Path, nargs="?", help="default: HEED_DATA/archive")
    given = parser.parse_args(arguments)
    settings = StoreSettings()
    folder = (given.folder or archive_folder(settings.data)).absolute()
    try:
        if given.command == "verify":
            said = told(folder, verify(folder))
        elif given.command == "parquet":
            from store.archive.parquet import to_parquet

            said = "\n".join(map(str, to_parquet(folder, given.out)))
        else:
            said = restored(settings, folder)
    except (ArchiveError, StoreUnavailable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(said + "\n")
    return 0


def told(folder: Path, report: Report) -> str:
    lines = ", ".join(f"{count:,} {series}" for series, count in report.lines.items())
    return (
        f"{folder} is whole: {report.segments} sealed segments, {report.bytes / 2**20:.1f} MiB; {lines}\n"
        f"Hash of the manifest's newest line (note it elsewhere): {report.head}"
    )


def restored(settings: StoreSettings, folder: Path) -> str:
    """Verify, take over and restore; what a person has to know then."""
    report = verify(folder)
    began = time.monotonic()
    with redis_running(settings):
        done, links = asyncio.run(_restore(settings, folder))
    took = time.monotonic() - began
    said = [
        told(folder, report),
        f"Restored in {took:.1f} s: {done.votes:,} votes and changes, {done.conversations:,} conversations,"
        f" {done.items:,} records, {done.audit:,} audit entries.",
        f"Not in an archive: {NOT_ARCHIVED}.",
        "The weights are files of the volume: put `policies/` and `reward_models/` back beside it.",
    ]
    said += [f"New password for {name}, for {LINK_HOURS} h: /invite#token={token}" for name, token in links]
    return "\n".join(said)


async def _restore(settings: StoreSettings, folder: Path) -> tuple[Restored, list[tuple[str, str]]]:
    async with connect(settings.redis) as redis:
        done = await restore(redis, bring(folder, settings.data))
        links = []
        for account_id in done.admins:
            account = await Accounts(redis, settings.data).get(account_id)
            if account is not None:
                _, token = await Invites(redis).create("restore", "admin", LINK_HOURS, account=account)
                links.append((account.name, token))
        return done, links


@contextmanager
def redis_running(settings: StoreSettings) -> Iterator[None]:
    """The Redis of the settings; when that is our own and it does not run, for as long as the body."""
    if settings.redis_url or asyncio.run(_answers(settings)):
        yield
        return
    for folder in ("run", "redis"):
        (settings.data / folder).mkdir(parents=True, exist_ok=True)
    arguments = server_arguments(settings.data, settings.data / "run" / "redis.sock")
    with subprocess.Popen([str(find_server_binary()), *arguments], stdout=subprocess.DEVNULL) as server:
        try:
            while not asyncio.run(_answers(settings)):
                if server.poll() is not None:
                    raise OSError(f"Redis ended at once: look into {settings.data / 'redis'}")
                time.sleep(0.1)
            yield
        finally:
            server.terminate()


async def _answers(settings: StoreSettings) -> bool:
    try:
        async with connect(settings.redis) as redis:
            with available():
                return bool(await redis.ping())
    except StoreUnavailable:
        return False


if __name__ == "__main__":
    sys.exit(main())
