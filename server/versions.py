"""A version in detail: what it was trained on, what differs from its parent, its files; and may it serve."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from server.dependencies import Parts
from server.version_shapes import (
    CanarySpan,
    CanaryStep,
    Change,
    FileOut,
    PreflightOut,
    SaidOut,
    VersionOut,
)
from store.artifacts import MANIFEST, SAMPLES, ArtifactError, verify
from store.records import AuditEvent, PolicyVersion, Run

CARD = "README.md"
CARD_CHARACTERS = 60_000
LOOK_BACK = 5000
"""Audit entries that the canaries of the past are read from."""


async def detail(heed: Parts, version: PolicyVersion) -> VersionOut:
    run = await heed.runs.get(version.run_id) if version.run_id else None
    parent = await heed.policies.get(version.parent) if version.parent else None
    parents_run = await heed.runs.get(parent.run_id) if parent and parent.run_id else None
    snapshot = run.snapshot if run else None
    own = await heed.lineage.votes(run.id) if run else set[str]()
    parents = await heed.lineage.votes(parents_run.id) if parents_run else set[str]()
    files, card, error = await asyncio.to_thread(_read, heed.policies.folder(version))
    return VersionOut(
        version=version,
        run_id=version.run_id,
        requested_by=run.requested_by if run else None,
        snapshot=snapshot,
        skipped=_skipped(run),
        settings=changes(_flat(parents_run.config), _flat(run.config)) if run and parents_run else [],
        metrics=changes(parent.metrics if parent else {}, version.metrics),
        votes_added=len(own - parents) if own else None,
        votes_removed=len(parents - own) if own else None,
        tainted=len(await heed.lineage.tainted_by(run.id)) if run else 0,
        files=files,
        bytes=sum(file.bytes for file in files),
        card=card,
        files_error=error,
    )


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """What differs, by name; None where one side lacks it."""
    names = sorted(before.keys() | after.keys())
    return [
        Change(name=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


async def preflight(heed: Parts, version: PolicyVersion) -> PreflightOut:
    """Reads and hashes every file: seconds for a large model."""
    began = time.monotonic()
    try:
        manifest = await asyncio.to_thread(verify, heed.policies.folder(version))
        size, error = sum(file["bytes"] for file in manifest["files"].values()), None
    except (ArtifactError, OSError) as failure:
        size, error = 0, str(failure)
    checked_s = time.monotonic() - began
    engines, active = await heed.policies.engines(), await heed.policies.active()
    ready = [engine for engine in engines if engine.state == "ready"]
    if error is None and not engines:
        error = "no engine has reported: nobody could load it"
    return PreflightOut(
        number=version.number,
        state=version.state,
        ok=error is None,
        error=error,
        bytes=size,
        checked_s=checked_s,
        warm_on=[engine.name for engine in ready if engine.version == version.number],
        ready_engines=len(ready),
        in_flight=sum(engine.in_flight for engine in engines),
        leaves=active.number if active else None,
        canary=await heed.policies.canary(),
    )


async def said(heed: Parts, version: PolicyVersion) -> list[SaidOut]:
    """Its answers to the fixed prompts, from its own gate or that of a version trained from it.

    The base model has had no gate of its own.
    """
    children = [one for one in await heed.policies.versions() if one.parent == version.number]
    for one, side in ((version, "candidate"), *((child, "active") for child in children)):
        if found := await asyncio.to_thread(_said, heed.policies.folder(one), side):
            return found
    return []


async def canaries(heed: Parts) -> list[CanarySpan]:
    """Canaries of the past and the one that runs, oldest first, as the audit log tells them."""
    return spans([entry.event for entry in reversed(await heed.audit.page(LOOK_BACK))])


def spans(events: Iterable[AuditEvent]) -> list[CanarySpan]:
    """The canaries that these events tell of, oldest first: when each began, changed its share and ended."""
    found: list[CanarySpan] = []
    for event in events:
        if not event.action.startswith("canary_") or not event.object.removeprefix("v").isdigit():
            continue
        number, reason = int(event.object.removeprefix("v")), str(event.detail.get("reason", ""))
        share = float(event.detail.get("share", 0))
        step = CanaryStep(share=share, at=event.at, actor=event.actor, reason=reason)
        last = found[-1] if found and found[-1].number == number else None
        if event.action == "canary_start":
            begun = CanarySpan(
                number=number, share=share, started_at=event.at, ended_at=None, outcome=None, steps=[step]
            )
            found.append(begun)
        elif last is not None and event.action == "canary_share":
            found[-1] = last.model_copy(update={"share": share, "steps": [*last.steps, step]})
        elif last is not None and event.action == "canary_end":
            ended = {"ended_at": event.at, "outcome": event.detail.get("outcome")}
            found[-1] = last.model_copy(update=ended | {"ended_by": event.actor, "reason": reason})
    return found


def _read(folder: Path) -> tuple[list[FileOut], str | None, str | None]:
    """The files that the manifest lists, the model card, and what went wrong. Hashes nothing."""
    try:
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        files = [FileOut(name=name, **listed[name]) for name in sorted(listed)]
    except (OSError, ValueError, KeyError) as error:
        return [], None, f"{folder / MANIFEST} cannot be read: {type(error).__name__}"
    try:
        card = (folder / CARD).read_text(encoding="utf-8")[:CARD_CHARACTERS]
    except OSError:
        card = None
    return files, card, None


def _said(folder: Path, side: str) -> list[SaidOut]:
    try:
        read = json.loads((folder / SAMPLES).read_text(encoding="utf-8"))
        answers = read["answers"][side]
        pairs = zip(read["prompts"], answers, strict=True)
        return [SaidOut(prompt=prompt, answer=answer) for prompt, answer in pairs]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """`{"ppo": {"lr": 1}}` -> `{"ppo.lr": 1}`."""
    return {
        f"{section}.{name}": value
        for section, values in config.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def _skipped(run: Run | None) -> dict[str, int]:
    summary = next((one.summary for one in run.stages if one.stage == "freeze"), {}) if run else {}
    skipped = summary.get("skipped", {})
    return skipped if isinstance(skipped, dict) else {}
