"""The canary: a version that passed the gate is tried on a share of the answers; blind votes decide it."""

from __future__ import annotations

import logging
from datetime import timedelta

from store.connection import Redis
from store.explorer.counted import canary_counts
from store.explorer.index import AT_ONCE, VoteIndex
from store.policies import CanaryOutcome, CanaryRefused, PointerMoved, Policies
from store.records import Canary, PolicyVersion
from store.statistics.sequential import CanaryVerdict, canary_verdict
from store.votes import VoteLog
from workers.settings import WorkerSettings

ACTOR = "heed"
# A canary begins by the clock of a server or worker, votes are logged by that of Redis.
CLOCKS_DIFFER = timedelta(minutes=1)
_OUTCOMES: dict[str, CanaryOutcome] = {"better": "promoted", "worse": "rolled_back", "stopped": "stopped"}

logger = logging.getLogger(__name__)


async def begin(policies: Policies, version: PolicyVersion, share: float, reason: str) -> Canary | str:
    """The canary that runs now, this version or another one; or why there can be none.

    Safe to repeat: a version that is a canary already stays one.
    """
    running = await policies.canary()
    if running is not None:
        return running
    try:
        return await policies.start_canary(version.number, share, ACTOR, reason)
    except CanaryRefused as refused:
        return await policies.canary() or str(refused)  # somebody else may have been faster


async def decide(redis: Redis, settings: WorkerSettings) -> None:
    """Promote the canary that runs, roll it back, or stop it after `canary_max_votes`, as the votes say.

    Looking at every tick is right, see `store/statistics/sequential.py`. Without a new vote, or a change of
    one, nothing is read; else only what was cast since the canary began.
    """
    policies, votes = Policies(redis, settings.data), VoteLog(redis, settings.data)
    canary, active = await policies.canary(), await policies.active()
    if canary is None or active is None:
        return
    through = await votes.newest()
    if through == await votes.mark("canary_through"):
        return
    wins, losses = await _count(VoteIndex(redis, settings.data), votes, through, canary, active.number)
    verdict = canary_verdict(wins, losses, max_votes=settings.release.canary_max_votes)
    if verdict.state != "undecided":
        reason = _in_words(verdict)
        try:
            await policies.end_canary(_OUTCOMES[verdict.state], ACTOR, reason, judged=canary)
            logger.info("canary v%d %s: %s", canary.number, _OUTCOMES[verdict.state], reason)
        except (CanaryRefused, PointerMoved) as error:
            logger.info("canary v%d was decided by somebody else: %s", canary.number, error)
    await votes.advance("canary_through", through)


async def _count(
    index: VoteIndex, votes: VoteLog, through: str, canary: Canary, active: int
) -> tuple[int, int]:
    """(wins, losses) as the page counts them, a few texts at a time."""
    began = int((canary.started_at - CLOCKS_DIFFER).timestamp() * 1000)
    cast = [vote for _, vote in await votes.read(f"{began}-0", through)]
    met = [vote for vote in cast if vote.kind == "duel" and {canary.number, active} == set(vote.versions)]
    wins = losses = 0
    for first in range(0, len(met), AT_ONCE):
        more = canary_counts(await index.rows(met[first : first + AT_ONCE]), canary, active)
        wins, losses = wins + more[0], losses + more[1]
    return wins, losses


def _in_words(verdict: CanaryVerdict) -> str:
    said = f"won {verdict.wins} of {verdict.n} decisive votes, e-value {verdict.e_value:.3g}"
    return f"undecided at the limit: {said}" if verdict.state == "stopped" else f"{verdict.state}: {said}"
