"""An attempt at a run: its folder, its claim, and stages that are done once however often they are tried.

An attempt writes only into its own folder `runs/<run>/attempt-<token>/`: a frozen worker's trainer may still
be running somewhere, and two trainers must never write the same files. A stage is finished when its
`<stage>.done.json` is there, written last and only by a worker that still held the run.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.conversations import Conversations
from store.imports import Imports
from store.lineage import Lineage
from store.opinions import Opinions
from store.policies import Policies
from store.queue import Queue
from store.records import GateReport, Stage, StageState
from store.run_options import RunOptions, RunOptionsBook
from store.runs import Claim, Runs, StaleClaim
from store.start_rules import StartRulesBook
from store.votes import VoteLog
from workers.lease import Cancelled, Lease, patiently
from workers.settings import WorkerSettings

_LISTS = ("checks", "skipped")
"""Of the gate's report and of the freeze; short."""


class RunFailed(Exception):
    """The run cannot succeed, however often it is tried; the message is for the person who looks."""


class HeldBack(Exception):
    """The reward model failed its gate: the run did its work, and no version comes out; says why."""


@dataclass(frozen=True)
class Work:
    """What every step is given: the claim on the run, and the store."""

    settings: WorkerSettings
    claim: Claim
    lease: Lease
    runs: Runs
    votes: VoteLog
    lineage: Lineage
    imports: Imports
    policies: Policies
    conversations: Conversations
    queue: Queue
    opinions: Opinions
    options: RunOptionsBook
    rules: StartRulesBook

    @property
    def folder(self) -> Path:
        return self.settings.data / "runs" / self.claim.run_id

    @property
    def attempt(self) -> Path:
        return self.folder / f"attempt-{self.claim.token}"

    @property
    def config(self) -> Path:
        """The configuration as it was when the run began: every attempt trains with the same one."""
        return self.folder / "config.toml"

    @property
    def asked(self) -> RunOptions:
        """What whoever asked for the run wants otherwise than the configuration has it."""
        kept = self.folder / "options.json"
        return RunOptions.model_validate_json(kept.read_text()) if kept.exists() else RunOptions()

    def attempts(self) -> list[Path]:
        """Folders of this attempt and the ones before, newest first."""
        folders = self.folder.glob("attempt-*")
        return sorted(folders, key=lambda folder: -int(folder.name.removeprefix("attempt-")))


@dataclass(frozen=True)
class Trained:
    """What a training stage left behind: a folder of weights, and the trainer's report."""

    folder: Path
    report: dict[str, Any]
    gate: GateReport | None = None
    """Of a reward model; None in runs from before it had a gate."""


async def once(
    work: Work, stage: Stage, step: Callable[[], Awaitable[dict[str, Any]]]
) -> tuple[Path, dict[str, Any]]:
    """The attempt that finished the stage and its report; runs `step` when none did."""
    for attempt in work.attempts():
        marker = attempt / f"{stage}.done.json"
        if marker.exists():
            report = json.loads(marker.read_text())
            await end_stage(work, stage, "done", _summary(report))  # the earlier attempt may have died before
            return attempt, report
    await work.lease.confirm()
    await patiently(lambda: work.runs.set_stage(work.claim, stage, "running"))
    errors = work.lease.redis_errors
    try:
        report = await step()
        await work.lease.confirm()
    except Cancelled:
        await end_stage(work, stage, "skipped", {"cancelled": True})
        raise
    except StaleClaim:
        raise
    except Exception:
        await end_stage(work, stage, "failed")
        raise
    await asyncio.to_thread(write_durably, work.attempt / f"{stage}.done.json", json.dumps(report))
    swallowed = work.lease.redis_errors - errors
    await end_stage(
        work, stage, "done", _summary(report) | ({"redis_errors": swallowed} if swallowed else {})
    )
    return work.attempt, report


async def end_stage(
    work: Work, stage: Stage, state: StageState, summary: dict[str, Any] | None = None
) -> None:
    """Say how a stage ended; a stage that is there already keeps its end."""

    async def end() -> None:
        run = await work.runs.get(work.claim.run_id)
        if run is None or all(status.state != state for status in run.stages if status.stage == stage):
            await work.runs.set_stage(work.claim, stage, state, summary)

    await patiently(end)


def write_durably(path: Path, text: str) -> None:
    """Write aside, fsync, rename: the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp-{secrets.token_hex(6)}")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """The report's plain facts, for the run page; what is long or nested stays in the report.

    Of what was measured on a set of pairs (`held_out`, `prequential`) the accuracy is one.
    """
    facts = {name: value for name, value in report.items() if name in _LISTS or _is_plain(value)}
    for name, value in report.items():
        if isinstance(value, dict) and "accuracy" in value:
            facts[f"{name}_accuracy"] = value["accuracy"]
    return facts


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= 200)
