"""Headroom: the memory plan against what the machine has, and which settings would need less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from trainer.config import TrainerConfig
from trainer.memory import GIB, PLANNERS, Place, Plan, Stage
from trainer.models import default_device
from trainer.reporting import Reporter


def announce(
    stage: Stage, policy: Path, config: TrainerConfig, reporter: Reporter, processes: int | None = None
) -> Plan | None:
    """Logs what a training will take, and warns when this machine has less: it is an estimate, so no error.

    Args:
        processes: of the training; None takes what the launcher says.

    Returns None where the model cannot be planned.
    """
    device = default_device()
    processes = processes or int(os.environ.get("WORLD_SIZE", "1"))
    try:
        plan = PLANNERS[stage](policy, config, processes, device)
    except (OSError, RuntimeError, ValueError) as error:  # such as a forward pass that looks at its data
        reporter.log(f"memory of {stage}: not known before it runs ({str(error).splitlines()[0]})")
        return None
    reporter.log(f"memory of {stage}, {plan}")
    for place, free in free_gib(device).items():
        if plan.gib(place) > free:
            ways = list(_ways_out(stage, policy, config, processes, device, place, plan.gib(place)))
            reporter.log(
                f"warning: {stage} needs about {plan.gib(place):.1f} GiB and {free:.1f} are free. "
                f"{'Less: ' + '; '.join(ways) if ways else 'Train a smaller model.'}"
            )
    return plan


def free_gib(device: torch.device) -> dict[Place, float]:
    """What each of this machine's processes may take."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cpu = psutil.virtual_memory().available / here / GIB
    if device.type == "cpu":
        return {"device": cpu}
    return {"device": torch.cuda.mem_get_info()[0] / GIB, "host": cpu}


def _ways_out(
    stage: Stage,
    policy: Path,
    config: TrainerConfig,
    processes: int,
    device: torch.device,
    place: Place,
    needed: float,
) -> Iterator[str]:
    """Each setting that by itself needs clearly less, with what it needs."""
    section = config.ppo if stage == "ppo" else config.reward
    changes: list[tuple[str, dict[str, Any]]] = [
        ("scale", {"gradient_checkpointing": True}),
        ("scale", {"lora_rank": config.scale.lora_rank or 16}),
        (stage, {"micro_batch_tokens": section.micro_batch_tokens // 2}),
    ]
    if processes > 1:
        changes.append(("scale", {"zero_stage": 3}))
    if device.type == "cuda":
        changes.append(("scale", {"zero_stage": config.scale.zero_stage or 2, "offload": "optimizer"}))
    for name, change in changes:
        changed = config.model_copy(update={name: getattr(config, name).model_copy(update=change)})
        less = PLANNERS[stage](policy, changed, processes, device).gib(place)
        if less < 0.95 * needed:
            words = ", ".join(f"{name}.{field} = {str(value).lower()}" for field, value in change.items())
            yield f"{words} ({less:.1f} GiB)"
