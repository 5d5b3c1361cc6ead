"""Runs: the record of each retrain is the truth; a Celery message is only a wake-up.

Lease, fencing token, attempt limit and janitor make lost or doubled messages and dead or frozen workers
harmless: whoever holds the current token may write, and nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from store import keys
from store.connection import Redis, available
from store.locks import shorten
from store.records import MetricRow, Pause, Run, RunState, Stage, StageState, StageStatus, new_id, now
from store.requests import TrainingRequest

QUEUED_TOO_LONG_S = 60
OPEN = ("queued", "running")


class RunAlreadyOpen(Exception):
    """A run is queued or running; `args[0]` is its id."""


class CannotRetry(Exception):
    """Only the newest run can be taken up again, and only when it failed or was cancelled."""


class StaleClaim(Exception):
    """Another worker has taken the run over (or it ended): stop and write nothing."""


class Claim(NamedTuple):
    """The right to work on a run, as long as its token is the newest."""

    run_id: str
    token: int
    owner: str
    lease_s: float


_FEED = "redis.call('XADD', KEYS[4], 'MAXLEN', '~', 2000, '*', 'event', 'run', 'data', ARGV[2])"

# A run that somebody waited for takes their request out of the queue, in the same step.
# KEYS: runs, open, order, feed, requests. ARGV: id, json, who waits or '', json of their request.
_REQUEST = f"""
if ARGV[3] ~= '' and redis.call('HGET', KEYS[5], ARGV[3]) ~= ARGV[4] then return 'gone' end
local open = redis.call('GET', KEYS[2])
if open then return open end
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[5], ARGV[3]) end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('LPUSH', KEYS[3], ARGV[1])
{_FEED}
return ''
"""

# KEYS: runs, lease, open, feed. ARGV: id, json after, json before, 1 when the run ends.
# Who may write was judged by the json before; the comparison makes judging and writing one step.
_WRITE = f"""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then return 'changed' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == '1' then
  redis.call('DEL', KEYS[2])
  if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
end
{_FEED}
return 'ok'
"""

# An ended run opens again. KEYS: runs, open, order, feed. ARGV: id, json after, json before.
_REOPEN = f"""
local open = redis.call('GET', KEYS[2])
if open then return open end
if redis.call('LINDEX', KEYS[3], 0) ~= ARGV[1] then return 'older' end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then return 'changed' end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
{_FEED}
return 'ok'
"""

# KEYS: runs, lease, open, feed. ARGV: id, json after, json before, token, lease ms.
_TAKE = f"""
if redis.call('EXISTS', KEYS[2]) == 1 then return 'held' end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then return 'changed' end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
{_FEED}
return 'ok'
"""

# A lease that is gone is taken again while the token is still the newest: Redis was away, not this worker.
# KEYS: runs, lease. ARGV: id, token, lease ms.
_RENEW = """
local run = cjson.decode(redis.call('HGET', KEYS[1], ARGV[1]) or '{}')
if run['state'] ~= 'running' or tostring(run['token']) ~= ARGV[2] then return 'lost' end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return run['cancel_requested'] and 'cancel' or 'ok'
"""

# KEYS: runs, metrics of the run, feed. ARGV: id, token, row.
_METRIC = """
local run = cjson.decode(redis.call('HGET', KEYS[1], ARGV[1]) or '{}')
if run['state'] ~= 'running' or tostring(run['token']) ~= ARGV[2] then return 0 end
redis.call('XADD', KEYS[2], '*', 'row', ARGV[3])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 2000, '*', 'event', 'metric', 'data', ARGV[3])
return 1
"""


class Runs:
    """Reads and writes run records. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._request = redis.register_script(_REQUEST)
        self._reopen = redis.register_script(_REOPEN)
        self._write = redis.register_script(_WRITE)
        self._take = redis.register_script(_TAKE)
        self._renew = redis.register_script(_RENEW)
        self._metric = redis.register_script(_METRIC)

    async def request(self, requested_by: str, reason: str | None = None) -> Run:
        """Queue a run. Raises RunAlreadyOpen while another one is queued or running."""
        run = await self._queue(requested_by, reason, None)
        assert run is not None
        return run

    async def start(self, request: TrainingRequest) -> Run | None:
        """Queue the run that somebody waits for; None when they cancelled. Raises RunAlreadyOpen."""
        return await self._queue(request.actor, request.reason, request)

    async def _queue(
        self, requested_by: str, reason: str | None, waiting: TrainingRequest | None
    ) -> Run | None:
        at = now()
        run = Run(
            id=new_id("run"), state="queued", requested_by=requested_by, reason=reason or None, created_at=at
        )
        waits = [waiting.actor, waiting.model_dump_json()] if waiting else ["", ""]
        with available():
            verdict = await self._request(
                keys=[keys.RUNS, keys.RUN_OPEN, keys.RUN_ORDER, keys.FEED, keys.RUN_REQUESTS],
                args=[run.id, run.model_dump_json(), *waits],
            )
        if verdict == "gone":
            return None
        if verdict:
            raise RunAlreadyOpen(verdict)
        return run

    async def retry(self, run_id: str) -> Run | None:
        """Queue an ended run again: what it finished stays, it goes on with the stage that did not.

        None when there is no such run. Raises CannotRetry, RunAlreadyOpen.
        """
        while True:
            text = await self._text(run_id)
            if text is None:
                return None
            run = Run.model_validate_json(text)
            if run.state not in ("failed", "cancelled"):
                raise CannotRetry(f"run {run_id} is {run.state}")
            stages = tuple(
                status if status.state == "done" else StageStatus(stage=status.stage) for status in run.stages
            )
            again = {"state": "queued", "attempt": 0, "cancel_requested": False, "ended_at": None}
            after = _changed(run, {**again, "error": None, "owner": None, "stages": stages})
            with available():
                verdict = await self._reopen(
                    keys=[keys.RUNS, keys.RUN_OPEN, keys.RUN_ORDER, keys.FEED],
                    args=[run_id, after.model_dump_json(), text],
                )
            if verdict == "older":
                raise CannotRetry(f"a newer training came after run {run_id}")
            if verdict == "ok":
                return after
            if verdict != "changed":
                raise RunAlreadyOpen(verdict)

    async def pause(self, actor: str, reason: str) -> Pause:
        """From now on no training starts by itself; one that runs goes on."""
        pause = Pause(actor=actor, reason=reason, at=now())
        with available():
            await self._redis.set(keys.SCHEDULE_PAUSED, pause.model_dump_json())
        return pause

    async def resume(self) -> None:
        """Trainings start by themselves again."""
        with available():
            await self._redis.delete(keys.SCHEDULE_PAUSED)

    async def paused(self) -> Pause | None:
        with available():
            text = await self._redis.get(keys.SCHEDULE_PAUSED)
        return Pause.model_validate_json(text) if text else None

    async def acknowledge(self, run_id: str, alert_id: str, actor: str) -> None:
        """Somebody has looked at an alert; the first one counts."""
        said = json.dumps([actor, now().isoformat()])
        with available():
            await self._redis.hsetnx(keys.run_alerts(run_id), alert_id, said)

    async def acknowledged(self, run_id: str) -> dict[str, tuple[str, datetime]]:
        """Alert id -> who has looked at it, and when."""
        with available():
            rows = await self._redis.hgetall(keys.run_alerts(run_id))
        said = {alert: json.loads(text) for alert, text in rows.items()}
        return {alert: (actor, datetime.fromisoformat(at)) for alert, (actor, at) in said.items()}

    async def get(self, run_id: str) -> Run | None:
        text = await self._text(run_id)
        return Run.model_validate_json(text) if text else None

    async def newest(self, limit: int = 50) -> list[Run]:
        """Newest first."""
        with available():
            ids = await self._redis.lrange(keys.RUN_ORDER, 0, limit - 1)
            texts = await self._redis.hmget(keys.RUNS, ids) if ids else []
        return [Run.model_validate_json(text) for text in texts if text]

    async def current(self) -> Run | None:
        """The run that is queued or running."""
        run_id = await self._open_id()
        return await self.get(run_id) if run_id else None

    async def acquire(self, run_id: str, owner: str, lease_s: float, max_attempts: int) -> Claim | None:
        """Take the run, or None when it ended, is held by a living worker, or has used up its attempts.

        A run without attempts left ends as `failed`, one that was asked to stop as `cancelled`.
        """
        while True:
            text = await self._text(run_id)
            run = Run.model_validate_json(text) if text else None
            if text is None or run is None or run.state not in OPEN:
                return None
            with available():
                claim = Claim(run_id, int(await self._redis.incr(keys.RUN_TOKENS)), owner, lease_s)
            over = run.cancel_requested or run.attempt >= max_attempts
            changes: dict[str, Any] = {"token": claim.token, "owner": owner}
            if not over:
                started_at = run.started_at or now()
                changes |= {"state": "running", "attempt": run.attempt + 1, "started_at": started_at}
            with available():
                verdict = await self._take(
                    keys=_keys(run_id),
                    args=[
                        *(run_id, _changed(run, changes).model_dump_json(), text),
                        *(claim.token, int(lease_s * 1000)),
                    ],
                )
            if verdict == "ok" and over:
                await self._give_up(claim, run)
                return None
            if verdict != "changed":
                return claim if verdict == "ok" else None

    async def give_back(self, worker: str) -> Run | None:
        """A worker was told to stop: its run goes on elsewhere at once, and the attempt does not count.

        `worker`: what its owners' names begin with, `host:pid`. None when it holds no run.
        """
        while True:
            run_id = await self._open_id()
            text = await self._text(run_id) if run_id else None
            run = Run.model_validate_json(text) if text else None
            if text is None or run is None or not (run.owner or "").startswith(f"{worker}:"):
                return None
            if run.state != "running":
                return None
            changed = _changed(run, {"attempt": max(0, run.attempt - 1), "owner": None})
            if await self._replaced(text, changed, ends=False):
                with available():
                    await self._redis.delete(keys.run_lease(run.id))
                return changed

    async def renew(self, claim: Claim) -> Literal["ok", "cancel", "lost"]:
        """Keep the lease. `cancel`: somebody asked the run to stop. `lost`: stop at once, write nothing."""
        with available():
            verdict: Literal["ok", "cancel", "lost"] = await self._renew(
                keys=[keys.RUNS, keys.run_lease(claim.run_id)],
                args=[claim.run_id, claim.token, int(claim.lease_s * 1000)],
            )
        return verdict

    async def update(self, claim: Claim, **changes: Any) -> Run:
        """Change fields of the run. Raises StaleClaim when the claim is no longer the newest."""
        return await self._fenced(claim, lambda run: changes)

    async def set_stage(
        self, claim: Claim, stage: Stage, state: StageState, summary: dict[str, Any] | None = None
    ) -> Run:
        """Move one stage: `running` starts its clock, any end stops it; the summary grows."""
        at = now()

        def moved(run: Run) -> dict[str, Any]:
            return {
                "stages": tuple(
                    _moved(status, state, summary or {}, at) if status.stage == stage else status
                    for status in run.stages
                )
            }

        return await self._fenced(claim, moved)

    async def finish(
        self, claim: Claim, state: RunState, *, error: str | None = None, version: int | None = None
    ) -> Run:
        """End the run. Raises StaleClaim when another worker has it."""
        changes: dict[str, Any] = {"state": state, "error": error, "ended_at": now()}
        if version is not None:
            changes["version"] = version
        return await self._fenced(claim, lambda run: changes, ends=True)

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to stop: a queued one ends at once, a running one at its next renewal."""
        while True:
            text = await self._text(run_id)
            if text is None:
                return None
            run = Run.model_validate_json(text)
            if run.state not in OPEN:
                return run
            queued = run.state == "queued"
            ended = {"state": "cancelled", "ended_at": now()} if queued else {}
            changed = _changed(run, {"cancel_requested": True, **ended})
            if await self._replaced(text, changed, ends=queued):
                return changed

    async def metric(
        self, claim: Claim, stage: Stage, step: int, of: int | None, values: dict[str, float]
    ) -> None:
        """Append one step's numbers to the run's stream and to the feed. Raises StaleClaim."""
        row = MetricRow(run_id=claim.run_id, stage=stage, step=step, of=of, values=values, at=now())
        with available():
            written = await self._metric(
                keys=[keys.RUNS, keys.run_metrics(claim.run_id), keys.FEED],
                args=[claim.run_id, claim.token, row.model_dump_json()],
            )
        if not written:
            raise StaleClaim(_not_newest(claim))

    async def metrics(self, run_id: str, after: str = "0", limit: int = 5000) -> list[tuple[str, MetricRow]]:
        """Rows with stream ids after `after`, oldest first."""
        with available():
            rows = await self._redis.xrange(keys.run_metrics(run_id), min=f"({after}", max="+", count=limit)
        return [(entry, MetricRow.model_validate_json(fields["row"])) for entry, fields in rows]

    async def stale(self, lease_s: float) -> list[str]:
        """The janitor's list: runs that nobody holds although somebody should.

        Empty while Redis is younger than two leases: the workers may not have renewed theirs yet.
        """
        run = await self.current()
        if run is None:
            return []
        with available():
            info = await self._redis.info("server")
            held = await self._redis.exists(keys.run_lease(run.id))
        await shorten(self._redis, keys.run_lease(run.id), lease_s)
        if held or info["uptime_in_seconds"] < 2 * lease_s:
            return []
        if run.state == "running" or (now() - run.created_at).total_seconds() > QUEUED_TOO_LONG_S:
            return [run.id]
        return []

    async def _open_id(self) -> str | None:
        with available():
            run_id: str | None = await self._redis.get(keys.RUN_OPEN)
        return run_id

    async def _text(self, run_id: str) -> str | None:
        with available():
            text: str | None = await self._redis.hget(keys.RUNS, run_id)
        return text

    async def _fenced(
        self, claim: Claim, changes: Callable[[Run], dict[str, Any]], ends: bool = False
    ) -> Run:
        """Change the run if the claim is the newest one and the run is open. Raises StaleClaim."""
        while True:
            text = await self._text(claim.run_id)
            run = Run.model_validate_json(text) if text else None
            if text is None or run is None or run.token != claim.token or run.state not in OPEN:
                raise StaleClaim(_not_newest(claim))
            changed = _changed(run, changes(run))
            if await self._replaced(text, changed, ends):
                return changed

    async def _replaced(self, before: str, run: Run, ends: bool) -> bool:
        """Write the run unless it is not `before` any more."""
        args = [run.id, run.model_dump_json(), before, int(ends)]
        with available():
            return bool(await self._write(keys=_keys(run.id), args=args) == "ok")

    async def _give_up(self, claim: Claim, run: Run) -> None:
        if run.cancel_requested:
            await self.finish(claim, "cancelled")
            return
        last = f"; the last one said: {run.error}" if run.error else ""
        await self.finish(claim, "failed", error=f"gave up after {run.attempt} attempts{last}")


def _keys(run_id: str) -> list[str]:
    return [keys.RUNS, keys.run_lease(run_id), keys.RUN_OPEN, keys.FEED]


def _not_newest(claim: Claim) -> str:
    return f"{claim.run_id}: token {claim.token} is not the newest any more, or the run has ended"


def _changed(run: Run, changes: dict[str, Any]) -> Run:
    """The run with other values, checked as any record is."""
    return Run.model_validate({**dict(run), **changes})


def _moved(status: StageStatus, state: StageState, summary: dict[str, Any], at: datetime) -> StageStatus:
    changes: dict[str, Any] = {"state": state, "summary": status.summary | json.loads(json.dumps(summary))}
    if state == "running":
        changes |= {"started_at": at, "ended_at": None}
    elif state in ("done", "failed", "skipped"):
        changes["ended_at"] = at
    return status.model_copy(update=changes)
