"""The held-back reward model: one that learned from other conversations, for the gates alone.

It lies in the folder of the reward model that it stands beside. PPO never sees it, so what only pleases the
first one does not please it: a policy looks ever better to the reward model that it is trained on, also when
it gets worse (over-optimisation, arXiv 2210.10760).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.errors import ModelError
from trainer.reporting import Reporter

FOLDER = "held_back"
CHANCE = 0.5


class _HeldOut(BaseModel):
    model_config = ConfigDict(extra="ignore")

    accuracy: float
    accuracy_low: float
    pairs: int


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")

    held_out: _HeldOut


def held_back(reward_model: Path, reporter: Reporter) -> Path | None:
    """Folder of the held-back model beside a reward model; None without one surely better than chance.

    A judge that may be guessing must not hold anything back: all of its accuracy's 95 % interval, on pairs
    that it has not learned from, must lie above one half.

    Raises:
        ModelError: its report cannot be read.
    """
    folder = reward_model / FOLDER
    if not folder.is_dir():
        return None
    try:
        found = _Report.model_validate_json((folder / "report.json").read_bytes()).held_out
    except (OSError, ValidationError) as error:
        raise ModelError(f"{folder / 'report.json'} is not a reward model's report: {error}") from None
    said = f"{found.accuracy:.0%} of {found.pairs} pairs that it had not seen"
    if found.accuracy_low <= CHANCE:
        reporter.log(f"the held-back reward model is right on {said}: too near to chance to judge by")
        return None
    reporter.log(f"the held-back reward model is right on {said}")
    return folder
