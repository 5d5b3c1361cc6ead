"""The canary: a version that passed the gate is tried on a share of the answers; blind votes decide it,
and guards end it at once when it does harm.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from store.connection import Redis
from store.explorer.counted import canary_counts
from store.explorer.index import AT_ONCE, VoteIndex
from store.policies import CanaryOutcome, CanaryRefused, PointerMoved, Policies
from store.ramp import next_step
from store.records import Canary, PolicyVersion, Vote
from store.statistics.sequential import CanaryVerdict, canary_verdict
from store.votes import VoteLog
from workers import guards
from workers.settings import Release, WorkerSettings

ACTOR = "heed"
# A canary begins by the clock of a server or worker, votes are logged by that of Redis.
CLOCKS_DIFFER = timedelta(minutes=1)
_OUTCOMES: dict[str, CanaryOutcome] = {"better": "promoted", "worse": "rolled_back", "stopped": "stopped"}

logger = logging.getLogger(__name__)


def first_share(release: Release) -> float:
    """What a version that passed the gate gets first; 0: it is active at once."""
    return release.canary_ramp[0] if release.canary_ramp else release.canary_share


async def begin(policies: Policies, version: PolicyVersion, release: Release, reason: str) -> Canary | str:
    """The canary that runs now, this version or another one; or why there can be none.

    Safe to repeat: a version that is a canary already stays one.
    """
    running = await policies.canary()
    if running is not None:
        return running
    try:
        return await policies.start_canary(
            version.number,
            first_share(release),
            ACTOR,
            reason,
            ramp=release.canary_ramp[1:],
            every=release.canary_ramp_votes,
        )
    except CanaryRefused as refused:
        return await policies.canary() or str(refused)  # somebody else may have been faster


async def decide(redis: Redis, settings: WorkerSettings) -> None:
    """End the canary that runs, as a guard or the votes say, or give it the next share of its ramp.

    Looking at every tick is right, see `store/statistics/sequential.py` and `guards.py`: neither test minds.
    Without a new vote, or a change of one, no vote is read; else only what was cast since the canary began.
    """
    policies, votes = Policies(redis, settings.data), VoteLog(redis, settings.data)
    canary, active = await policies.canary(), await policies.active()
    if canary is None or active is None:
        return
    through = await votes.newest()
    news = through != await votes.mark("canary_through")
    cast = await _since(votes, canary, through) if news else []
    guard = await guards.look(redis, settings.release, canary, active.number, cast, through)
    if guard is not None:
        await _end(policies, canary, "rolled_back", guards.in_words(guard, active.number))
    elif news:
        counts = await _count(VoteIndex(redis, settings.data), cast, canary, active.number)
        await _by_votes(policies, settings.release, canary, *counts)
    if news:
        await votes.advance("canary_through", through)


async def _by_votes(policies: Policies, release: Release, canary: Canary, wins: int, losses: int) -> None:
    verdict = canary_verdict(wins, losses, max_votes=release.canary_max_votes)
    if verdict.state != "undecided":
        await _end(policies, canary, _OUTCOMES[verdict.state], _in_words(verdict))
    elif stepped := next_step(canary, verdict.n, release.canary_ramp_votes):
        reason = f"next step of the ramp: {_so_far(verdict)}, no guard has spoken"
        with suppress(CanaryRefused):  # a person changed it meanwhile: the next look sees how
            await policies.ramp_canary(canary, stepped, ACTOR, reason)


async def _end(policies: Policies, canary: Canary, outcome: CanaryOutcome, reason: str) -> None:
    try:
        await policies.end_canary(outcome, ACTOR, reason, judged=canary)
        logger.info("canary v%d %s: %s", canary.number, outcome, reason)
    except (CanaryRefused, PointerMoved) as error:
        logger.info("canary v%d was decided by somebody else: %s", canary.number, error)


async def _since(votes: VoteLog, canary: Canary, through: str) -> list[tuple[str, Vote]]:
    """The votes since the canary began, with their ids in the log."""
    began = int((canary.started_at - CLOCKS_DIFFER).timestamp() * 1000)
    return await votes.read(f"{began}-0", through)


async def _count(
    index: VoteIndex, cast: Sequence[tuple[str, Vote]], canary: Canary, active: int
) -> tuple[int, int]:
    """(wins, losses) as the page counts them, a few texts at a time."""
    duels = [vote for _, vote in cast if vote.kind == "duel"]
    met = [vote for vote in duels if {canary.number, active} == set(vote.versions)]
    wins = losses = 0
    for first in range(0, len(met), AT_ONCE):
        more = canary_counts(await index.rows(met[first : first + AT_ONCE]), canary, active)
        wins, losses = wins + more[0], losses + more[1]
    return wins, losses


def _in_words(verdict: CanaryVerdict) -> str:
    how = "undecided at the limit" if verdict.state == "stopped" else verdict.state
    return f"{how}: {_so_far(verdict)}"


def _so_far(verdict: CanaryVerdict) -> str:
    return f"won {verdict.wins} of {verdict.n} decisive votes, e-value {verdict.e_value:.3g}"
