"""Swap one engine to another version: check the folder, load, check the engine, or go back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.engines.client import HELD, LOADING, EngineClient, NotFinite
from server.engines.engine import Engine
from server.engines.pool import EnginePool
from server.errors import EngineFailed
from store.artifacts import ArtifactError, check_weights, verify
from store.records import Fingerprint, PolicyVersion

PROBE = "What is two plus two?"
PROBE_TOKENS = 8


class BadVersion(Exception):
    """The version must not serve; the message says why."""


async def check_folder(pool: EnginePool, version: PolicyVersion, folder: Path) -> None:
    """Everything that can be known before an engine sees the weights. Raises BadVersion.

    Files that have not changed since they were found sound are not read again for the next engine.
    """
    like = next((one.folder for one in pool.engines if one.folder and one.folder.exists()), None)
    try:
        files = await asyncio.to_thread(_files, folder)
        if pool.sound.get(version.number) == files:
            return
        await asyncio.to_thread(verify, folder)
        await asyncio.to_thread(check_weights, folder, like)
    except (ArtifactError, OSError) as error:
        raise BadVersion(str(error)) from error
    pool.sound[version.number] = files


def _files(folder: Path) -> frozenset[tuple[str, int, int, int]]:
    """Name, inode, size and time of the last change (ns) of every file."""
    found = ((path.name, path.stat()) for path in folder.iterdir())
    return frozenset((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found)


async def check_engine(client: EngineClient, version: PolicyVersion) -> None:
    """Finite log-probabilities, and the greedy answers that the gate recorded.

    Raises BadVersion when they are others, NotFinite, EngineFailed.
    At least half of the answers must be equal: an engine with stale or half-written weights matches none,
    while batching with others' answers in bf16 may turn a near-tie in one of them. They are asked one by one,
    as the gate did, for the same reason.
    """
    expected: tuple[Fingerprint, ...] = version.report.fingerprints if version.report else ()
    if not expected:
        await client.greedy(PROBE, PROBE_TOKENS)
    said = [await client.greedy(one.prompt, len(one.token_ids)) for one in expected]
    equal = sum(a.token_ids == b.token_ids for a, b in zip(expected, said, strict=True))
    if equal * 2 < len(expected):
        raise BadVersion(f"only {equal} of {len(expected)} greedy answers are what the gate recorded")


async def swap(pool: EnginePool, engine: Engine, version: PolicyVersion, folder: Path) -> None:
    """Load `version`, whose folder is sound, into the engine; answers in flight there are held meanwhile.

    The caller has marked the engine as busy. Raises BadVersion when the version is to blame, EngineFailed
    when the engine may be. It then holds what it held before, or, when even that fails, nothing certain.
    """
    before, before_folder = engine.record, engine.folder
    pool.unsure(engine, "loading")
    try:
        await _load(pool, engine, version, folder, clear=before is None)
    except (EngineFailed, BadVersion) as error:
        if before is None or before_folder is None:
            pool.unsure(engine, "down", str(error))
            raise EngineFailed(str(error)) from error
        # The cache is cleared too: weights that compute NaN leave it there, and good ones read it.
        await _restore(pool, engine, before, before_folder)
        if isinstance(error, NotFinite):
            raise BadVersion(str(error)) from error
        raise


async def _load(
    pool: EnginePool, engine: Engine, version: PolicyVersion, folder: Path, *, clear: bool
) -> None:
    """Take the weights, see that they are the right ones, open the engine to new answers."""
    client = engine.client
    # First the label: whoever finds the engine like this, after a crash of this server, loads it anew.
    await client.label(LOADING)
    # Also for an engine that serves nobody: another server's answer may just have begun there.
    await client.pause()
    try:
        if clear:
            await client.clear_kv_cache()
        await client.reload(folder)
        await client.compare(folder)
        pool.spans(engine, version.number)
    finally:
        await client.resume()
    await check_engine(client, version)
    await client.label(HELD + folder.name)
    pool.holds(engine, version, folder)


async def _restore(pool: EnginePool, engine: Engine, before: PolicyVersion, folder: Path) -> None:
    """Put the version back that the engine held. Raises EngineFailed when that fails too."""
    try:
        await _load(pool, engine, before, folder, clear=True)
    except (EngineFailed, BadVersion) as error:
        said = f"{engine.name} is not sound after v{before.number} was put back: {error}"
        pool.unsure(engine, "down", said)
        raise EngineFailed(said) from error
