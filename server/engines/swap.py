"""Swap one engine to another version: check the folder, load, check the engine, or go back."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.engines.pool import Engine
from server.errors import EngineFailed
from store.artifacts import ArtifactError, check_weights, verify
from store.records import Fingerprint, PolicyVersion

PROBE = "What is two plus two?"
PROBE_TOKENS = 8


class BadVersion(Exception):
    """The version must not serve; the message says why."""


async def check_folder(folder: Path, like: Path | None) -> None:
    """Everything that can be known before an engine sees the weights. Raises BadVersion."""
    try:
        await asyncio.to_thread(verify, folder)
        await asyncio.to_thread(check_weights, folder, like)
    except (ArtifactError, OSError) as error:
        raise BadVersion(str(error)) from error


async def swap(engine: Engine, version: PolicyVersion, folder: Path, like: Path | None) -> None:
    """Load `version` into the engine; answers in flight there are held and go on with the new weights.

    `like` is a folder that engines hold already: the new weights must have its shapes.

    Raises BadVersion when the version fails (the engine then holds what it held before) and EngineFailed
    when the engine itself broke.
    """
    before, before_folder = engine.version, engine.folder
    await check_folder(folder, like)
    engine.state = "loading"
    try:
        await _load(engine, version.number, folder)
        await _check_engine(engine, version)
    except (EngineFailed, BadVersion) as error:
        if before is None or before_folder is None or not await engine.client.healthy():
            raise EngineFailed(str(error)) from error
        await _load(engine, before, before_folder)
        engine.state = "ready"
        raise BadVersion(str(error)) from error
    engine.state, engine.error, engine.draining = "ready", None, False


async def _load(engine: Engine, number: int, folder: Path) -> None:
    await engine.client.pause()
    try:
        await engine.client.load(folder)
        engine.version, engine.folder = number, folder
        for lease in engine.leases:
            if lease.versions[-1] != number:
                lease.versions += (number,)
    finally:
        await engine.client.resume()


async def _check_engine(engine: Engine, version: PolicyVersion) -> None:
    """Finite log-probabilities, and the greedy answers that the gate recorded.

    At least half of them must be equal: an engine with stale or half-written weights matches none, while
    batching in bf16 may turn a near-tie in one of them.
    """
    await engine.client.greedy(PROBE, PROBE_TOKENS)
    expected: tuple[Fingerprint, ...] = version.report.fingerprints if version.report else ()
    equal = 0
    for fingerprint in expected:
        said = await engine.client.greedy(fingerprint.prompt, len(fingerprint.token_ids))
        equal += said.token_ids == fingerprint.token_ids
    if expected and equal * 2 < len(expected):
        raise BadVersion(f"only {equal} of {len(expected)} greedy answers are what the gate recorded")
