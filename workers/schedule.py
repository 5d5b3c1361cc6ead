"""Step 4 of the loop: is a run due, which runs must be woken, which votes have had their run.

The same tick decides a canary.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime

from store.audit import Audit
from store.connection import Redis, connect
from store.health import Health
from store.opinions import agreement_of_recent_votes
from store.outlook import Outlooks, RecentAgreement
from store.policies import Policies
from store.records import AuditEvent, Run, now
from store.requests import Requests
from store.runs import RunAlreadyOpen, Runs
from store.start_rules import StartRulesBook
from store.statistics.drift import Drift, drift_of
from store.stream_ids import when
from store.votes import VoteLog
from workers.canary import decide
from workers.settings import WorkerSettings
from workers.start_rules import Waiting, due, outlook, quiet


async def tick(settings: WorkerSettings, agreement: RecentAgreement = agreement_of_recent_votes) -> list[str]:
    """Start a run when one is due; the ids of the runs that a worker should be woken for.

    By the start rules of this moment: the file's, with what people changed of them.

    Waking a run twice does no harm: only one worker can acquire it.
    """
    redis = connect(settings.redis_url)
    try:
        changes = await StartRulesBook(redis).changes()
        settings = replace(settings, schedule=changes.over(settings.schedule))
        runs, votes = Runs(redis), VoteLog(redis, settings.data)
        await Health(redis).tick()
        await decide(redis, settings)
        await settle(runs, votes)
        waiting = await what_waits(votes, redis, settings, agreement)
        canary, at = await Policies(redis, settings.data).canary(), now()
        seen = outlook(waiting, settings.schedule, at, canary.number if canary else None, changes.at)
        await Outlooks(redis).write(seen)
        current = await runs.current()
        if current is None:
            try:
                current = await _requested(redis, runs)
                if current is None and canary is None:
                    current = await _by_itself(redis, waiting, settings, at)
            except RunAlreadyOpen:  # an admin was faster; the next tick wakes it
                return []
        if current is None:
            return []
        if current.state == "queued":
            return [current.id]
        return await runs.stale(settings.schedule.lease_s)
    finally:
        await redis.aclose()


async def what_waits(
    votes: VoteLog, redis: Redis, settings: WorkerSettings, agreement: RecentAgreement
) -> Waiting:
    """The votes that no run has had yet, and what they say of the live reward model."""
    schedule = settings.schedule
    after = await votes.mark("attempted_through")
    count = await votes.pending(after)
    if not count:
        return Waiting(0, None)
    first = None
    if schedule.every_hours is not None or schedule.calendar is not None:
        # A stream never counts back: after a clock was set back its ids stay at the time from before.
        cast = [
            min(when(entry), vote.created_at) for entry, vote in await votes.read(after) if vote.makes_pair
        ]
        first = min(cast, default=None)
    return Waiting(count, first, await _drift(redis, settings, agreement, count))


async def _requested(redis: Redis, runs: Runs) -> Run | None:
    """The run that somebody has waited for longest: neither a pause nor quiet hours hold it up."""
    for request in await Requests(redis).waiting():
        run = await runs.start(request)
        if run is not None:
            return run
    return None


async def _by_itself(redis: Redis, waiting: Waiting, settings: WorkerSettings, at: datetime) -> Run | None:
    runs, because = Runs(redis), due(waiting, settings.schedule, at)
    if because is None or quiet(settings.schedule, at) is not None or await runs.paused():
        return None
    run = await runs.request(because)
    await Audit(redis).append(
        AuditEvent(actor="heed", action="train_due", object=run.id, reason=because, at=at)
    )
    return run


async def _drift(
    redis: Redis, settings: WorkerSettings, agreement: RecentAgreement, votes: int
) -> Drift | None:
    if not settings.schedule.drift:
        return None
    right, n = await agreement(redis, votes)
    if not n:
        return None
    active = await Policies(redis, settings.data).active()
    if active is None or active.reward_model is None:
        return None
    path = settings.data / "reward_models" / f"v{active.reward_model:04d}" / "report.json"
    try:
        report = json.loads(await asyncio.to_thread(path.read_text))
        low = float(report["held_out"]["accuracy_low"])
    except (FileNotFoundError, KeyError):  # sealed by an early version, which promised nothing
        return None
    return drift_of(right, n, held_out_low=low, allowed=settings.schedule.drift)


async def settle(runs: Runs, votes: VoteLog) -> None:
    """Move the marks past the votes of the newest run, once it ended; safe to repeat.

    `attempted_through` moves at every end, else the same votes would start the next run at once;
    `trained_through` only when a version came out, so that the votes of a failed run, or of one whose reward
    model was held back, stay new.
    """
    newest = await runs.newest(limit=1)
    run = newest[0] if newest else None
    if run is None or run.ended_at is None:
        return
    # Without a snapshot (cancelled before it began, say) the votes up to its end had their chance.
    through = run.snapshot.through if run.snapshot else f"{int(run.ended_at.timestamp() * 1000)}-0"
    await votes.advance("attempted_through", through)
    if run.state == "succeeded" and run.version is not None:
        await votes.advance("trained_through", through)
