"""The reward hacking watch, version by version: what people and the reward model say of the same duels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from server.hacking_shapes import WatchedVersion
from store.explorer.counted import counts
from store.explorer.table import VoteRow
from store.explorer.watched import steps
from store.hacking import HackingWatch
from store.opinions import Thought
from store.records import PolicyVersion
from store.statistics.intervals import Share, share_of


def watched(
    rows: Sequence[VoteRow], thoughts: Mapping[str, Thought], versions: Mapping[int, PolicyVersion]
) -> list[WatchedVersion]:
    """Versions with a reward model's word on some vote, oldest first."""
    met = {step.version: step for step in steps(rows, thoughts)}
    right = _predicted(rows, thoughts)
    found = []
    for number in sorted(met.keys() | right.keys()):
        step, version = met.get(number), versions.get(number)
        measured = (
            {check.name: check.value for check in version.report.checks} if version and version.report else {}
        )
        found.append(
            WatchedVersion(
                number=number,
                people=share_of(step.wins, step.n) if step else share_of(0, 0),
                model=share_of(step.liked, step.n) if step else share_of(0, 0),
                lead=step.lead if step else None,
                predicted=right.get(number, share_of(0, 0)),
                length=measured.get("length"),
                entropy=measured.get("entropy"),
                repeats=measured.get("repeats"),
            )
        )
    return found


async def warnings(watch: HackingWatch) -> list[str]:
    """What the dashboard says on top while the watch speaks."""
    told = await watch.told()
    if told is None or told.finding.level == "quiet":
        return []
    return [f"Reward hacking: {told.words}"]


def _predicted(rows: Sequence[VoteRow], thoughts: Mapping[str, Thought]) -> dict[int, Share]:
    """By reward model: the decisive votes that it had not seen, and how often the higher score won."""
    hits: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        thought = thoughts.get(row.vote.id)
        if thought is None or thought.margin is None or thought.learned_from:
            continue
        if row.vote.choice in ("a", "b") and counts(row):
            ahead = thought.margin if row.vote.choice == "a" else -thought.margin
            hits[thought.reward_model].append(ahead > 0)
    return {number: share_of(sum(some), len(some)) for number, some in hits.items()}
