"""Which conversations teach the reward model, and which a second one that only the gates ask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from store.dataset.split import fraction
from store.json_lines import read_lines
from store.records import PreferencePair

JUDGED_PAIRS = 100
"""Of the first model's pairs, on which the second is judged too: the held-out ones alone are few."""


class Divided(NamedTuple):
    """Files of pairs; the second model's are None when there is none, and `why` says why."""

    pairs: Path
    held_back: Path | None = None
    judged: Path | None = None
    decided: int = 0
    """Pairs of the second model in which one answer is preferred."""
    why: str = ""


def divide(data: Path, out: Path, share: float, least: int) -> Divided:
    """Divides the train pairs of a snapshot by conversation: the same ones in each run, by their hash.

    With fewer than `least` pairs to teach a second model, the first one gets all.

    Args:
        data: the snapshot's folder.
        out: folder for the files.
    """
    train = data / "train.jsonl"
    first, second = list[str](), list[str]()
    count = {True: 0, False: 0}
    for line in read_lines(train):
        pair = PreferencePair.model_validate_json(line)
        away = fraction(f"held back {_conversation(pair)}") < share
        (second if away else first).append(line)
        count[away] += _decided(pair)
    if share == 0:
        return Divided(train, why="off: schedule.held_back_share is 0")
    if count[True] < least or count[False] < count[True]:
        few = f"none: {count[True]} pairs of other conversations, {least} are needed"
        return Divided(train, why=few if count[True] < least else "none: too few conversations to divide")
    held_out = read_lines(data / "held_out.jsonl")
    seen_by_first = [line for line in first if _decided(PreferencePair.model_validate_json(line))]
    out.mkdir(parents=True, exist_ok=True)
    return Divided(
        pairs=_written(out / "first.jsonl", first),
        held_back=_written(out / "held_back.jsonl", second),
        judged=_written(out / "judged.jsonl", [*held_out, *seen_by_first[-JUDGED_PAIRS:]]),
        decided=count[True],
    )


def as_many_seeds(seed_pairs: Path, parts: Divided) -> Path:
    """No more seed pairs than the second model has pairs: it is to be cheap, and to know votes above all."""
    assert parts.held_back is not None
    lines = read_lines(seed_pairs)
    return _written(parts.held_back.with_name("seed_pairs.jsonl"), lines[-parts.decided :])


def _conversation(pair: PreferencePair) -> str:
    """Imported pairs may have none: then their prompt."""
    if pair.conversation_id is not None:
        return pair.conversation_id
    return hashlib.sha256("".join(turn.model_dump_json() for turn in pair.prompt).encode()).hexdigest()


def _decided(pair: PreferencePair) -> bool:
    return pair.source != "thumb" and pair.preference > 0.5


def _written(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
