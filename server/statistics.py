"""The statistics of the votes: computed aside from the event loop, kept until a vote changes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from server.hacking import watched
from server.hacking_shapes import WatchedVersion
from server.statistics_shapes import AnnotatorOut, BoardOut, CanaryOut, GuardOut, PositionOut, StatisticsOut
from store.canary_watch import CanaryWatch
from store.explorer.counted import Counted, canary_counts, counted
from store.explorer.index import VoteIndex, text_label
from store.explorer.table import VoteRow
from store.policies import Policies
from store.queue import Queue
from store.records import QueueItem
from store.statistics.agreement import cohen_kappas, gold_accuracy, krippendorff_alpha, self_agreement
from store.statistics.bradley_terry import board
from store.statistics.calibration import Calibration, calibration
from store.statistics.intervals import share_of
from store.statistics.position import left_share, left_share_by_annotator
from store.statistics.sequential import canary_verdict
from store.statistics.win_rate import pair_rates

DEAR_S = 0.5


class _Kept(NamedTuple):
    """A result, what it was computed from, and what that took."""

    given: tuple[int, object]
    value: Any
    at: float
    took_s: float

    def dear(self) -> bool:
        """Too slow to be computed again for each vote: at most a twentieth of the time goes into it."""
        return self.took_s > DEAR_S and time.monotonic() - self.at < 20 * self.took_s


class Statistics:
    """Everything that is said about versions and annotators. Raises StoreUnavailable."""

    def __init__(
        self,
        index: VoteIndex,
        policies: Policies,
        queue: Queue,
        canary_watch: CanaryWatch,
        *,
        canary_max_votes: int,
    ) -> None:
        self._index = index
        self._policies = policies
        self._queue = queue
        self._canary_watch = canary_watch
        self._canary_max_votes = canary_max_votes
        self._kept: dict[str, _Kept] = {}
        self._busy = asyncio.Lock()

    async def all(self) -> StatisticsOut:
        """Ratings, win rates, position bias, agreement and the reward model's calibration."""
        gold: dict[Hashable, str] = {
            item.id: _gold_label(item) for item, _ in await self._queue.items() if item.gold
        }
        found: StatisticsOut = await self._computed("all", lambda rows: _statistics(rows, gold), gold)
        return found.model_copy(update={"canary": await self._canary()})

    async def board(self, *, style: bool) -> BoardOut:
        """The leaderboard, with or without style control."""
        found: BoardOut = await self._computed(f"board {style}", lambda rows: _board(rows, style))
        return found

    async def watched(self) -> list[WatchedVersion]:
        """What the reward hacking watch looks at, oldest version first."""
        versions = {one.number: one for one in await self._policies.versions()}
        found: list[WatchedVersion] = await self._computed(
            "watched", lambda rows: watched(rows, dict(self._index.thoughts), versions), versions
        )
        return found

    async def _computed(
        self, name: str, compute: Callable[[list[VoteRow]], Any], besides: object = None
    ) -> Any:
        """What was computed last, unless a vote changed since, or what it is computed from besides votes."""
        async with self._busy:
            table = await self._index.refresh()
            given = (self._index.changes, besides)
            kept = self._kept.get(name)
            if kept is None or (kept.given != given and not kept.dear()):
                began = time.monotonic()
                value = await asyncio.to_thread(compute, list(table.rows))
                kept = self._kept[name] = _Kept(given, value, began, time.monotonic() - began)
            return kept.value

    async def _canary(self) -> CanaryOut | None:
        """The sequential test between the canary, if there is one, and the active version."""
        active, canary = await self._policies.active(), await self._policies.canary()
        if active is None or canary is None:
            return None
        besides = (canary.number, canary.started_at, active.number)
        wins, losses = await self._computed(
            f"canary {canary.number}", lambda rows: canary_counts(rows, canary, active.number), besides
        )
        verdict = canary_verdict(wins, losses, max_votes=self._canary_max_votes)
        watch = await self._canary_watch.watch(canary)
        guards = [
            GuardOut(**guard.model_dump(exclude={"log_e"}), e_value=guard.e_value) for guard in watch.guards
        ]
        return CanaryOut(number=canary.number, against=active.number, guards=guards, **verdict.model_dump())


def _gold_label(item: QueueItem) -> str:
    """The known verdict, as the votes on the item are labelled."""
    if item.gold in ("a", "b") and len(item.answers) == 2:
        return text_label(item.answers[item.gold == "b"].text)
    return str(item.gold)


def _statistics(rows: list[VoteRow], gold: Mapping[Hashable, str]) -> StatisticsOut:
    given = counted(rows)
    left = left_share(given.duels)
    return StatisticsOut(
        versions=list(board(given.duels).ratings),
        pairs=pair_rates(given.duels),
        position=PositionOut(left_share=left.share, low=left.low, high=left.high, n=left.n),
        agreement=krippendorff_alpha(given.judgements),
        canary=None,
        counted=len(given.duels),
        left_out=given.left_out,
        annotators=_annotators(given, gold),
        kappas=cohen_kappas(given.judgements),
        reward_model=_reward_model(rows),
    )


def _board(rows: list[VoteRow], style: bool) -> BoardOut:
    given = counted(rows)
    found = board(given.duels, style=style)
    return BoardOut(
        versions=list(found.ratings),
        style=list(found.style),
        pairs=pair_rates(given.duels),
        counted=len(given.duels),
        left_out=given.left_out,
    )


def _annotators(given: Counted, gold: Mapping[Hashable, str]) -> list[AnnotatorOut]:
    """Most votes first."""
    votes = Counter(duel.annotator for duel in given.duels)
    left = left_share_by_annotator(given.duels)
    again = self_agreement(given.judgements)
    right = gold_accuracy(given.judgements, gold)
    return [
        AnnotatorOut(
            annotator=name,
            votes=votes[name],
            left=left.get(name, share_of(0, 0)),
            self_agreement=again.get(name),
            gold=right.get(name),
        )
        for name in sorted({*votes, *again, *right}, key=lambda one: (-votes[one], one))
    ]


def _reward_model(rows: list[VoteRow]) -> Calibration:
    """On active votes for a or b that the reward model had not seen when it scored them.

    Without those that were asked for because reward models were unsure: there it can only be wrong.
    """
    scored = [
        row
        for row in rows
        if row.margin is not None
        and row.vote.status == "active"
        and row.vote.choice in ("a", "b")
        and row.vote.asked != "uncertain"
    ]
    return calibration(
        [row.margin or 0.0 for row in scored],
        [row.vote.choice == "a" for row in scored],
        [float(row.styles[0].length - row.styles[1].length) for row in scored],
    )
