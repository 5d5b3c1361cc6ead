"""Steps 5 to 8 of the loop: freeze, reward, ppo, gate; each once, whichever attempt finishes it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from store import disk
from store.dataset.checks import cross_fit_path
from store.dataset.gather import Position, position_now
from store.dataset.split import NotEnoughData
from store.dataset.trust import CROSS_FIT
from store.records import GateReport, Stage
from store.settings import read_sections
from workers import snapshot
from workers.attempt import RunFailed, Trained, Work, once, write_durably
from workers.child import Metric, run_trainer
from workers.demonstrations import ptx_arguments
from workers.held_back import Divided, as_many_seeds, divide
from workers.lease import patiently
from workers.settings import WorkerSettings
from workers.snapshot import Frozen

HAND_OVER_TRIES = 5
WENT_LIVE = ("active", "retired", "canary")
POSITION = "position.json"


async def freeze(work: Work) -> Frozen:
    """5. The votes that count become a data set; the active version becomes the parent."""
    active = await patiently(work.policies.active)
    if active is None:
        raise RunFailed("no policy version is active: `make up` publishes the base model as version 1")
    await asyncio.to_thread(_room, work.settings.data)

    async def step() -> dict[str, Any]:
        await _keep_config(work)
        at = await _position(work)
        imported = await patiently(work.imports.pairs)
        try:
            frozen = await patiently(
                lambda: snapshot.freeze(
                    work.folder / "snapshot",
                    run_id=work.claim.run_id,
                    parent=active.number,
                    at=at,
                    votes=work.votes,
                    conversations=work.conversations,
                    queue=work.queue,
                    opinions=work.opinions,
                    settings=_as_asked(work),
                    imported=imported,
                )
            )
        except NotEnoughData:
            (work.folder / POSITION).unlink()  # when it is taken up again there may be more
            raise
        used = await asyncio.to_thread(snapshot.votes_used, work.folder / "snapshot")
        await patiently(lambda: work.lineage.record(work.claim.run_id, used))
        await patiently(lambda: work.votes.advance("frozen_through", frozen.snapshot.through))
        rules = await patiently(work.rules.changes)
        file = await asyncio.to_thread(read_sections, work.config)
        sections = work.asked.over(rules.shown_in(file))
        await patiently(lambda: work.runs.update(work.claim, snapshot=frozen.snapshot, config=sections))
        return frozen.snapshot.model_dump(mode="json", exclude={"run_id"}) | {
            "parent": frozen.parent,
            "skipped": frozen.skipped,
        }

    await once(work, "freeze", step)
    return await asyncio.to_thread(snapshot.read, work.folder / "snapshot")


def _room(data: Path) -> None:
    """Raises RunFailed: a training that fills the disk would end Redis with it."""
    free, needed = disk.free_bytes(data), disk.training_bytes(data)
    if free < needed:
        raise RunFailed(
            f"{free >> 20} MiB are free in {data}, a training may take {needed >> 20}: make room, then retry"
        )


async def reward(work: Work, frozen: Frozen) -> Trained:
    """6. The reward model, from the frozen pairs and the seed pairs, starting from the parent; and its gate.

    Beside it a second one, held back for the gates, from conversations that the first never sees.
    """

    async def step() -> dict[str, Any]:
        data, out = work.folder / "snapshot", work.attempt / "reward"
        parts = await asyncio.to_thread(_divided, work)
        await asyncio.to_thread(_hand_over_checkpoints, work, "lesson")
        arguments = (
            *("--policy", await _policy(work, frozen.parent), "--pairs", parts.pairs),
            *("--held-out", data / "held_out.jsonl", "--seed-pairs", await _seed_pairs(work)),
            *("--work", work.attempt / "lesson", "--out", out),
            *await _previous_reward_model(work),
            *("--tensorboard", work.attempt / "tensorboard" / "reward"),
        )
        report = await _train(work, "reward", arguments)
        second = await _held_back(work, frozen, parts, out / "held_back")
        verdict = await _reward_gate(work, frozen, out)
        return report | second | {"passed": verdict["passed"], "checks": verdict["checks"]}

    attempt, report = await once(work, "reward", step)
    gate = GateReport(passed=report["passed"], checks=report["checks"]) if "checks" in report else None
    return Trained(attempt / "reward", report, gate)


def _divided(work: Work) -> Divided:
    schedule = work.settings.schedule
    share, least = schedule.held_back_share, schedule.min_held_back_pairs
    return divide(work.folder / "snapshot", work.attempt / "pairs", share, least)


async def _held_back(work: Work, frozen: Frozen, parts: Divided, out: Path) -> dict[str, Any]:
    """The second reward model, beside the first; what the run's page says of it."""
    if parts.held_back is None:
        return {"held_back": parts.why}
    await asyncio.to_thread(_hand_over_checkpoints, work, "held_back_lesson")
    seeds = await asyncio.to_thread(as_many_seeds, await _seed_pairs(work), parts)
    arguments = (
        *("--policy", await _policy(work, frozen.parent), "--pairs", parts.held_back),
        *("--held-out", parts.judged, "--seed-pairs", seeds, "--set", "reward.seed=1"),
        *("--work", work.attempt / "held_back_lesson", "--out", out),
    )
    report = await _run(work, "reward", arguments, log="held_back")
    return {"held_back_pairs": parts.decided, "held_back_accuracy": report["held_out"]["accuracy"]}


async def _reward_gate(work: Work, frozen: Frozen, reward_model: Path) -> dict[str, Any]:
    """May PPO believe it? The verdict lies beside its weights and is sealed with them."""
    arguments = (
        *("--policy", await _policy(work, frozen.parent), "--reward-model", reward_model),
        *("--prompts", work.folder / "snapshot" / "held_out_prompts.jsonl"),
        *("--out", reward_model / "gate.json"),
        *_whose_votes(work),
    )
    verdict = await _run(work, "reward_gate", arguments)
    await asyncio.to_thread(_keep_cross_fit, work, reward_model / CROSS_FIT)
    return verdict


def _whose_votes(work: Work) -> tuple[object, ...]:
    """The data set, unless nobody is to be judged or it was frozen before it said whose votes it holds."""
    data = work.folder / "snapshot"
    judged = work.settings.votes.trust and (data / "annotators.jsonl").exists()
    return ("--data", data) if judged else ()


def _keep_cross_fit(work: Work, found: Path) -> None:
    """What it found of annotators is evidence for the next freeze, whatever becomes of the reward model."""
    if found.exists():
        write_durably(cross_fit_path(work.settings.data, work.claim.run_id), found.read_text())


async def ppo(work: Work, frozen: Frozen, reward_model: Trained) -> Trained:
    """7. PPO-max from the parent towards the reward model, held near version 1; a candidate comes out."""

    async def step() -> dict[str, Any]:
        await asyncio.to_thread(_hand_over_checkpoints, work, "ppo")
        arguments = (
            *("--policy", await _policy(work, frozen.parent), "--reference", await _policy(work, 1)),
            *("--reward-model", reward_model.folder, "--prompts", work.folder / "snapshot" / "prompts.jsonl"),
            *("--work", work.attempt / "ppo", "--out", work.attempt / "candidate"),
            *await asyncio.to_thread(ptx_arguments, work.folder / "snapshot", work.attempt / "ptx.jsonl"),
        )
        return await _train(work, "ppo", arguments)

    attempt, report = await once(work, "ppo", step)
    return Trained(attempt / "candidate", report)


async def gate(work: Work, frozen: Frozen, reward_model: Trained, candidate: Trained) -> GateReport:
    """8. The candidate against the parent, on prompts that neither training has seen."""
    out = work.attempt / "gate" / "report.json"

    async def step() -> dict[str, Any]:
        out.parent.mkdir(parents=True, exist_ok=True)
        arguments = (
            *("--candidate", candidate.folder, "--active", await _policy(work, frozen.parent)),
            *("--reference", await _policy(work, 1), "--reward-model", reward_model.folder),
            *("--prompts", work.folder / "snapshot" / "held_out_prompts.jsonl", "--out", out),
        )
        await _train(work, "gate", arguments)
        return GateReport.model_validate_json(out.read_text()).model_dump(mode="json")

    _, report = await once(work, "gate", step)
    return GateReport.model_validate(report)


async def _train(work: Work, stage: Stage, arguments: tuple[object, ...]) -> dict[str, Any]:
    """One trainer stage as a child process, its metrics forwarded."""

    async def forward(step: int, of: int | None, values: dict[str, float]) -> None:
        await work.runs.metric(work.claim, stage, step, of, values)

    return await _run(work, stage, arguments, metric=forward)


async def _run(
    work: Work, command: str, arguments: tuple[object, ...], *, log: str = "", metric: Metric | None = None
) -> dict[str, Any]:
    """The report of one command of the trainer."""
    settings = ["--config", str(work.config), *work.asked.trainer_arguments()]
    words = [*work.settings.start_of(command), *settings, *map(str, arguments)]
    return await run_trainer(words, work.attempt / f"{log or command}.log", work.lease, metric)


async def _policy(work: Work, number: int) -> Path:
    version = await patiently(lambda: work.policies.get(number))
    if version is None:
        raise RunFailed(f"policy version {number} is not registered: `make up` publishes the base model")
    return work.policies.folder(version)


async def _previous_reward_model(work: Work) -> tuple[object, ...]:
    """Of the newest version that went live: how well did it predict the votes that it has not seen?

    Not of one that was rejected or taken back: what was wrong with it may have been its reward model.
    """
    for version in await patiently(work.policies.versions):
        if version.reward_model is not None and version.state in WENT_LIVE:
            folder = work.settings.data / "reward_models" / f"v{version.reward_model:04d}"
            return ("--previous", folder) if folder.is_dir() else ()
    return ()


async def _seed_pairs(work: Work) -> Path:
    """Contrast pairs of version 1, made once per volume."""
    target = work.settings.data / "seed_pairs.jsonl"
    if not target.exists():
        aside = work.attempt / f"seed_pairs-{secrets.token_hex(6)}.jsonl"
        await _run(work, "seeds", ("--policy", await _policy(work, 1), "--out", aside))
        os.replace(aside, target)
    return target


def _hand_over_checkpoints(work: Work, name: str) -> None:
    """Give this attempt the newest checkpoint of the newest earlier one that has any, as links.

    `name` is the stage's work folder in each attempt.

    Links into a folder of its own, not the same folder: the trainer of a frozen worker may still write into
    its own, and removes old checkpoints while we look. It never writes into one that is complete.
    """
    target = work.attempt / name / "checkpoints"
    for attempt in work.attempts():
        if attempt == work.attempt:
            continue
        for _ in range(HAND_OVER_TRIES):
            found = [path for path in (attempt / name / "checkpoints").glob("*") if path.name[0] != "."]
            newest_first = sorted(found, key=lambda path: path.name, reverse=True)
            if any(_linked(checkpoint, target / checkpoint.name) for checkpoint in newest_first):
                return
            if not found:
                break


def _linked(source: Path, target: Path) -> bool:
    """Link a checkpoint's files; False when it was removed meanwhile. The target is there whole or not."""
    aside = target.with_name(f".tmp-{secrets.token_hex(6)}")
    try:
        shutil.copytree(source, aside, copy_function=_link)
        os.rename(aside, target)
    except (FileNotFoundError, shutil.Error):
        shutil.rmtree(aside, ignore_errors=True)
        return False
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(source, target)


async def _position(work: Work) -> Position:
    """Where this run cuts the log: every attempt at the same place, whatever was voted meanwhile."""
    path = work.folder / POSITION
    if not path.exists():
        at = await patiently(lambda: position_now(work.votes, work.opinions, work.settings.data))
        await asyncio.to_thread(write_durably, path, at.model_dump_json())
    return Position.model_validate_json(path.read_text())


def _as_asked(work: Work) -> WorkerSettings:
    """The settings, with what whoever asked for the run wants otherwise."""
    schedule = work.settings.schedule.model_copy(update=work.asked.schedule)
    return replace(work.settings, schedule=schedule)


async def _keep_config(work: Work) -> None:
    """The configuration, and what whoever asked for the run wants otherwise, for this and later attempts."""
    work.folder.mkdir(parents=True, exist_ok=True)
    if work.config.exists():
        return
    run = await patiently(lambda: work.runs.get(work.claim.run_id))
    options = await patiently(lambda: work.options.of(run.requested_by if run else ""))
    text = work.settings.config.read_text(encoding="utf-8")
    await asyncio.to_thread(write_durably, work.folder / "options.json", options.model_dump_json())
    await asyncio.to_thread(write_durably, work.config, text)
