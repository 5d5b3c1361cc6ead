"""Steps 5 to 8 of the loop: freeze, reward, ppo, gate; each once, whichever attempt finishes it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from store.dataset.gather import Position, position_now
from store.dataset.split import NotEnoughData
from store.records import GateReport, Stage
from store.settings import read_sections
from workers import snapshot
from workers.attempt import RunFailed, Trained, Work, once, write_durably
from workers.child import run_trainer
from workers.demonstrations import ptx_arguments
from workers.lease import patiently
from workers.snapshot import Frozen

HAND_OVER_TRIES = 5
POSITION = "position.json"


async def freeze(work: Work) -> Frozen:
    """5. The votes that count become a data set; the active version becomes the parent."""
    active = await patiently(work.policies.active)
    if active is None:
        raise RunFailed("no policy version is active: `make up` publishes the base model as version 1")

    async def step() -> dict[str, Any]:
        await asyncio.to_thread(_keep_config, work)
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
                    settings=work.settings,
                    imported=imported,
                )
            )
        except NotEnoughData:
            (work.folder / POSITION).unlink()  # when it is taken up again there may be more
            raise
        used = await asyncio.to_thread(snapshot.votes_used, work.folder / "snapshot")
        await patiently(lambda: work.lineage.record(work.claim.run_id, used))
        await patiently(lambda: work.votes.advance("frozen_through", frozen.snapshot.through))
        sections = await asyncio.to_thread(read_sections, work.config)
        await patiently(lambda: work.runs.update(work.claim, snapshot=frozen.snapshot, config=sections))
        return frozen.snapshot.model_dump(mode="json", exclude={"run_id"}) | {
            "parent": frozen.parent,
            "skipped": frozen.skipped,
        }

    await once(work, "freeze", step)
    return await asyncio.to_thread(snapshot.read, work.folder / "snapshot")


async def reward(work: Work, frozen: Frozen) -> Trained:
    """6. The reward model, from the frozen pairs and the seed pairs, starting from the parent."""
    data = work.folder / "snapshot"

    async def step() -> dict[str, Any]:
        await asyncio.to_thread(_hand_over_checkpoints, work, "lesson")
        arguments = (
            *("--policy", await _policy(work, frozen.parent), "--pairs", data / "train.jsonl"),
            *("--held-out", data / "held_out.jsonl", "--seed-pairs", await _seed_pairs(work)),
            *("--work", work.attempt / "lesson", "--out", work.attempt / "reward"),
            *await _previous_reward_model(work),
            *("--tensorboard", work.attempt / "tensorboard" / "reward"),
        )
        return await _train(work, "reward", arguments)

    attempt, report = await once(work, "reward", step)
    return Trained(attempt / "reward", report)


async def ppo(work: Work, frozen: Frozen, reward_model: Trained) -> Trained:
    """7. PPO-max from the parent towards the reward model, held near version 1; a candidate comes out."""

    async def step() -> dict[str, Any]:
        await asyncio.to_thread(_hand_over_checkpoints, work, "ppo")
        train = work.folder / "snapshot" / "train.jsonl"
        arguments = (
            *("--policy", await _policy(work, frozen.parent), "--reference", await _policy(work, 1)),
            *("--reward-model", reward_model.folder, "--prompts", work.folder / "snapshot" / "prompts.jsonl"),
            *("--work", work.attempt / "ppo", "--out", work.attempt / "candidate"),
            *await asyncio.to_thread(ptx_arguments, train, work.attempt / "ptx.jsonl"),
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

    command = [*work.settings.start_of(stage), "--config", str(work.config), *map(str, arguments)]
    return await run_trainer(command, work.attempt / f"{stage}.log", work.lease, forward)


async def _policy(work: Work, number: int) -> Path:
    version = await patiently(lambda: work.policies.get(number))
    if version is None:
        raise RunFailed(f"policy version {number} is not registered: `make up` publishes the base model")
    return work.policies.folder(version)


async def _previous_reward_model(work: Work) -> tuple[object, ...]:
    """The newest sealed reward model: how well did it predict the votes that it has not seen?"""
    for version in await patiently(work.policies.versions):
        if version.reward_model is not None:
            folder = work.settings.data / "reward_models" / f"v{version.reward_model:04d}"
            return ("--previous", folder) if folder.is_dir() else ()
    return ()


async def _seed_pairs(work: Work) -> Path:
    """Contrast pairs of version 1, made once per volume."""
    target = work.settings.data / "seed_pairs.jsonl"
    if not target.exists():
        aside = work.attempt / f"seed_pairs-{secrets.token_hex(6)}.jsonl"
        arguments = ("--policy", await _policy(work, 1), "--out", aside)
        command = [*work.settings.start_of("seeds"), "--config", work.config, *arguments]
        await run_trainer([str(word) for word in command], work.attempt / "seeds.log", work.lease)
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
        at = await patiently(lambda: position_now(work.votes, work.settings.data))
        await asyncio.to_thread(write_durably, path, at.model_dump_json())
    return Position.model_validate_json(path.read_text())


def _keep_config(work: Work) -> None:
    work.folder.mkdir(parents=True, exist_ok=True)
    if not work.config.exists():
        write_durably(work.config, work.settings.config.read_text(encoding="utf-8"))
