"""Checks: what is known of whether each annotator is right, read from the queue and from reward models."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from store.dataset.trust import CROSS_FIT, Checked, Source, by_sureness
from store.opinions import AT_ONCE, Opinions
from store.queue import Queue
from store.records import Verdict, Vote
from store.statistics.drift import drift_of

Found = dict[str, dict[Source, Checked]]


async def checks_of(
    votes: Iterable[Vote], queue: Queue, until: datetime, margins: Mapping[str, float]
) -> Found:
    """Annotator -> source -> how many of the checks up to then they passed.

    margins: vote id -> how far the chosen answer was ahead, by a reward model that had not seen the vote.
    """
    right: dict[str, dict[Source, list[bool]]] = defaultdict(lambda: defaultdict(list))
    predicted: dict[str, list[float]] = defaultdict(list)
    annotators = set()
    for vote in votes:
        annotators.add(vote.annotator_id)
        if is_predicted(vote, margins):
            predicted[vote.annotator_id].append(margins[vote.id])
    verdicts = {}
    for name in sorted(annotators):
        verdicts[name] = [one for one in await queue.verdicts(name) if one.at <= until]
    for name, said in verdicts.items():
        right[name]["gold"] += [one.choice == one.gold for one in said if _asks_gold(one)]
    for name, agreed in with_the_others(verdicts).items():
        right[name]["others"] += agreed
    found: Found = {
        name: {source: Checked(sum(passed), len(passed)) for source, passed in by_source.items() if passed}
        for name, by_source in right.items()
    }
    for name, own in predicted.items():
        found[name]["reward_model"] = by_sureness(own)
    return found


def is_predicted(vote: Vote, margins: Mapping[str, float]) -> bool:
    """Whether a vote is one that a reward model had not seen and predicted, and still counts."""
    return vote.id in margins and vote.kind == "duel" and vote.status != "undone"


def has_shown(verdicts: Iterable[Verdict], wanted: int) -> bool:
    """Whether somebody got so many known verdicts right, and surely more often than a coin would.

    Else whoever votes at random would only have to go on for long enough. The test may be looked at after
    every verdict: a coin ever passes it 1 time in 20 (Ville's inequality), 7 of 7 do, and 10 of 11.
    """
    asked = [one for one in verdicts if _asks_gold(one)]
    right = sum(one.choice == one.gold for one in asked)
    fewer_wrong = drift_of(len(asked) - right, len(asked), held_out_low=0.5, allowed=0.0)
    return right >= wanted and fewer_wrong.found


def with_the_others(verdicts: Mapping[str, Iterable[Verdict]]) -> dict[str, list[bool]]:
    """Annotator -> for each item that others judged for a side too: did most of them say the same?"""
    by_item: dict[str, dict[str, str]] = defaultdict(dict)
    for name, said in verdicts.items():
        for one in said:
            if one.check is None and one.choice in ("a", "b"):
                by_item[one.item_id].setdefault(name, one.choice)
    found: dict[str, list[bool]] = defaultdict(list)
    for judged in by_item.values():
        for name, choice in judged.items():
            others = Counter(said for other, said in judged.items() if other != name)
            if others["a"] != others["b"]:
                found[name].append(others[choice] * 2 > others.total())
    return found


async def read_cross_fits(volume: Path, runs: Sequence[str]) -> dict[str, float]:
    """Vote id -> margin, as a regression had it that learned from everybody's votes but this annotator's.

    Of these runs, which asked it where nothing else was known.
    """
    return await asyncio.to_thread(_cross_fits, volume, runs)


def cross_fits(volume: Path) -> tuple[str, ...]:
    """The runs that asked so, the newest last: of a vote that several have predicted it knows most."""
    found = sorted((volume / "runs").glob(f"*/{CROSS_FIT}"), key=lambda path: path.stat().st_mtime_ns)
    return tuple(path.parent.name for path in found)


def cross_fit_path(volume: Path, run_id: str) -> Path:
    return volume / "runs" / run_id / CROSS_FIT


async def read_margins(volume: Path, through: int) -> dict[str, float]:
    """Vote id -> margin, as the reward models up to number `through` had it of the votes new to them.

    A vote is new once; what the first model that had not seen it thought stays.
    """
    return await asyncio.to_thread(_margins, volume, through)


async def margins_of_opinions(votes: Sequence[Vote], opinions: Opinions, formed: int) -> dict[str, float]:
    """Vote id -> margin, as the first `formed` opinions have it of votes that their models had not seen.

    Not of those on answers that were chosen because reward models disagree about them.
    """
    asked = [vote for vote in votes if vote.kind == "duel" and vote.choice in ("a", "b")]
    asked = [vote for vote in asked if vote.asked != "uncertain" and vote.check is None and not vote.leaked]
    found: dict[str, float] = {}
    for first in range(0, len(asked), AT_ONCE):
        some = {vote.id: vote for vote in asked[first : first + AT_ONCE]}
        for name, opinion in (await opinions.of_the_first(formed, list(some))).items():
            if opinion.margin is not None and not opinion.learned_from:
                found[name] = opinion.margin if some[name].choice == "a" else -opinion.margin
    return found


def _margins(volume: Path, through: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for number in range(through, 0, -1):
        path = volume / "reward_models" / f"v{number:04d}" / "margins.json"
        if path.exists():
            found |= {str(name): float(margin) for name, margin in json.loads(path.read_text()).items()}
    return found


def _cross_fits(volume: Path, runs: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for run_id in runs:
        path = cross_fit_path(volume, run_id)
        if path.exists():
            found |= {str(name): float(margin) for name, margin in json.loads(path.read_text()).items()}
    return found


def _asks_gold(verdict: Verdict) -> bool:
    return verdict.gold is not None and verdict.choice != "skip"
