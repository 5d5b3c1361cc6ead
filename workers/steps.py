"""Steps 6 to 8 of the loop: reward, ppo, gate; each once, whichever attempt finishes it."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import Any

from store.records import GateReport
from workers.attempt import Trained, Work, once
from workers.commands import hand_over_checkpoints, policy_folder, run_command, train_stage
from workers.demonstrations import ptx_arguments
from workers.held_back import Divided, as_many_seeds, divide
from workers.lease import patiently
from workers.snapshot import Frozen

WENT_LIVE = ("active", "retired", "canary")


async def reward(work: Work, frozen: Frozen) -> Trained:
    """6. The reward model, from the frozen pairs and the seed pairs, starting from the parent; and its gate.

    Beside it a second one, held back for the gates, from conversations that the first never sees.
    """

    async def step() -> dict[str, Any]:
        data, out = work.folder / "snapshot", work.attempt / "reward"
        parts = await asyncio.to_thread(_divided, work)
        await asyncio.to_thread(hand_over_checkpoints, work, "lesson")
        arguments = (
            *("--policy", await policy_folder(work, frozen.parent), "--pairs", parts.pairs),
            *("--held-out", data / "held_out.jsonl", "--seed-pairs", await _seed_pairs(work)),
            *("--work", work.attempt / "lesson", "--out", out),
            *await _previous_reward_model(work),
            *("--tensorboard", work.attempt / "tensorboard" / "reward"),
        )
        report = await train_stage(work, "reward", arguments)
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
    await asyncio.to_thread(hand_over_checkpoints, work, "held_back_lesson")
    seeds = await asyncio.to_thread(as_many_seeds, await _seed_pairs(work), parts)
    arguments = (
        *("--policy", await policy_folder(work, frozen.parent), "--pairs", parts.held_back),
        *("--held-out", parts.judged, "--seed-pairs", seeds, "--set", "reward.seed=1"),
        *("--work", work.attempt / "held_back_lesson", "--out", out),
    )
    report = await run_command(work, "reward", arguments, log="held_back")
    return {"held_back_pairs": parts.decided, "held_back_accuracy": report["held_out"]["accuracy"]}


async def _reward_gate(work: Work, frozen: Frozen, reward_model: Path) -> dict[str, Any]:
    """May PPO believe it? The verdict lies beside its weights and is sealed with them."""
    arguments = (
        *("--policy", await policy_folder(work, frozen.parent), "--reward-model", reward_model),
        *("--prompts", work.folder / "snapshot" / "held_out_prompts.jsonl"),
        *("--out", reward_model / "gate.json"),
    )
    return await run_command(work, "reward_gate", arguments)


async def ppo(work: Work, frozen: Frozen, reward_model: Trained) -> Trained:
    """7. PPO-max from the parent towards the reward model, held near version 1; a candidate comes out."""

    async def step() -> dict[str, Any]:
        await asyncio.to_thread(hand_over_checkpoints, work, "ppo")
        arguments = (
            *("--policy", await policy_folder(work, frozen.parent)),
            *("--reference", await policy_folder(work, 1), "--reward-model", reward_model.folder),
            *("--prompts", work.folder / "snapshot" / "prompts.jsonl"),
            *("--work", work.attempt / "ppo", "--out", work.attempt / "candidate"),
            *await asyncio.to_thread(ptx_arguments, work.folder / "snapshot", work.attempt / "ptx.jsonl"),
        )
        return await train_stage(work, "ppo", arguments)

    attempt, report = await once(work, "ppo", step)
    return Trained(attempt / "candidate", report)


async def gate(work: Work, frozen: Frozen, reward_model: Trained, candidate: Trained) -> GateReport:
    """8. The candidate against the parent, on prompts that neither training has seen."""
    out = work.attempt / "gate" / "report.json"

    async def step() -> dict[str, Any]:
        out.parent.mkdir(parents=True, exist_ok=True)
        arguments = (
            *("--candidate", candidate.folder, "--active", await policy_folder(work, frozen.parent)),
            *("--reference", await policy_folder(work, 1), "--reward-model", reward_model.folder),
            *("--prompts", work.folder / "snapshot" / "held_out_prompts.jsonl", "--out", out),
        )
        await train_stage(work, "gate", arguments)
        return GateReport.model_validate_json(out.read_text()).model_dump(mode="json")

    _, report = await once(work, "gate", step)
    return GateReport.model_validate(report)


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
        await run_command(work, "seeds", ("--policy", await policy_folder(work, 1), "--out", aside))
        os.replace(aside, target)
    return target
