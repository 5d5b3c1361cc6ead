"""What the trainer left in a run's folder: the end of a stage's log, the answers it showed, its alerts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from server.training_shapes import FixedOut, LogOut, SampleOut
from store.records import Stage

Shown = TypeVar("Shown", SampleOut, FixedOut)

TAIL_BYTES = 64 << 10
READ_BYTES = 8 << 20
SAMPLE = "sample {"
"""How the trainer's log line begins that shows an answer (`trainer/reporting.py`)."""
FIXED = "fixed {"
"""The same of the greedy answers to the fixed prompts."""

_WARNING = re.compile(r"^warning before update (\d+): (.+)$")
_STOPPED = re.compile(r"^stopped before update (\d+), (.+)$")
_LEFT_OUT = re.compile(r"^step (\d+): (not a finite number: .+|\S+ is (?:nan|-?inf), left out)$")


class Alert(NamedTuple):
    stage: Stage
    step: int
    text: str
    stopped: bool

    @property
    def id(self) -> str:
        said = f"{self.stage} {self.step} {self.text}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def attempts(run: Path) -> list[Path]:
    """Folders of the run's attempts, oldest first."""
    found = [path for path in run.glob("attempt-*") if path.name.removeprefix("attempt-").isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("attempt-")))


def tail(run: Path, stage: Stage) -> LogOut | None:
    """The end of the newest log of the stage; None when it never ran."""
    for attempt in reversed(attempts(run)):
        text = _end(attempt / f"{stage}.log", TAIL_BYTES)
        if text is None:
            continue
        cut = (attempt / f"{stage}.log").stat().st_size > TAIL_BYTES
        lines = text.splitlines()[1 if cut else 0 :]
        return LogOut(
            stage=stage,
            text="\n".join(line for line in lines if not line.startswith((SAMPLE, FIXED))),
            cut=cut,
        )
    return None


def samples(run: Path) -> list[SampleOut]:
    """One answer for each update, in order; of an update that ran twice, the later one."""
    return _shown(run, SAMPLE, SampleOut)


def fixed(run: Path) -> list[FixedOut]:
    """What the policy said to the fixed prompts along the training, in order."""
    return _shown(run, FIXED, FixedOut)


def _shown(run: Path, begins: str, kind: type[Shown]) -> list[Shown]:
    found: dict[int, Shown] = {}
    for line in _lines(run, "ppo"):
        if line.startswith(begins):
            try:
                said: dict[str, Any] = json.loads(line.removeprefix(begins[:-1]))
                shown = kind.model_validate(said)
            except (ValueError, ValidationError):
                continue  # cut at the beginning of what was read, or half written
            found[shown.update] = shown
    return [found[update] for update in sorted(found)]


def alerts(run: Path) -> list[Alert]:
    """What the trainer warned of, in order of stages and steps, each once."""
    found: dict[str, Alert] = {}
    stages: tuple[Stage, ...] = ("reward", "ppo")
    for stage in stages:
        for line in _lines(run, stage):
            if alert := _alert(stage, line):
                found[alert.id] = alert
    return sorted(found.values(), key=lambda alert: (stages.index(alert.stage), alert.step))


def _alert(stage: Stage, line: str) -> Alert | None:
    for pattern, stopped in ((_WARNING, False), (_STOPPED, True), (_LEFT_OUT, False)):
        if match := pattern.match(line):
            return Alert(stage, int(match[1]), match[2], stopped)
    return None


def _lines(run: Path, stage: Stage) -> Iterator[str]:
    for attempt in attempts(run):
        yield from (_end(attempt / f"{stage}.log", READ_BYTES) or "").splitlines()


def _end(path: Path, size: int) -> str | None:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
