"""Step 4 of the loop: is a run due, which runs must be woken, which votes have had their run.

The same tick decides a canary.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from store.connection import connect
from store.health import Health
from store.records import now
from store.runs import RunAlreadyOpen, Runs
from store.stream_ids import when
from store.votes import VoteLog
from workers.canary import decide
from workers.settings import Schedule, WorkerSettings


async def tick(settings: WorkerSettings) -> list[str]:
    """Start a run when one is due; the ids of the runs that a worker should be woken for.

    Waking a run twice does no harm: only one worker can acquire it.
    """
    redis = connect(settings.redis_url)
    try:
        runs, votes = Runs(redis), VoteLog(redis, settings.data)
        await Health(redis).tick()
        await decide(redis, settings)
        await settle(runs, votes)
        current = await runs.current()
        if current is None:
            if await runs.paused():
                return []
            reason = await due(votes, settings.schedule, now())
            if reason is None:
                return []
            try:
                current = await runs.request(reason)
            except RunAlreadyOpen:  # an admin was faster; the next tick wakes it
                return []
        if current.state == "queued":
            return [current.id]
        return await runs.stale(settings.schedule.lease_s)
    finally:
        await redis.aclose()


async def due(votes: VoteLog, schedule: Schedule, at: datetime) -> str | None:
    """Why a run should start: `votes` (enough wait), `schedule` (one waited long enough), or None."""
    after = await votes.mark("attempted_through")
    if await votes.pending(after) >= schedule.min_votes:
        return "votes"
    if schedule.every_hours is not None and await votes.pending(after):
        first = next((entry for entry, vote in await votes.read(after) if vote.makes_pair), None)
        if first is not None and at - when(first) >= timedelta(hours=schedule.every_hours):
            return "schedule"
    return None


async def settle(runs: Runs, votes: VoteLog) -> None:
    """Move the marks past the votes of the newest run, once it ended; safe to repeat.

    `attempted_through` moves at every end, else the same votes would start the next run at once;
    `trained_through` only when a version came out, so that a failed run's votes stay new.
    """
    newest = await runs.newest(limit=1)
    run = newest[0] if newest else None
    if run is None or run.ended_at is None:
        return
    # Without a snapshot (cancelled before it began, say) the votes up to its end had their chance.
    through = run.snapshot.through if run.snapshot else f"{int(run.ended_at.timestamp() * 1000)}-0"
    await votes.advance("attempted_through", through)
    if run.state == "succeeded":
        await votes.advance("trained_through", through)
