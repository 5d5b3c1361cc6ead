"""Runs: the record of each retrain is the truth; a Celery message is only a wake-up.

Lease, fencing token, attempt limit and janitor make lost or doubled messages and dead or frozen workers
harmless: whoever holds the current token may write, and nobody else.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal, NamedTuple

from store import keys
from store.connection import Redis, available
from store.records import MetricRow, Run, RunState, Stage, StageState, StageStatus, new_id, now

QUEUED_TOO_LONG_S = 60


class RunAlreadyOpen(Exception):
    """A run is queued or running; `args[0]` is its id."""


class StaleClaim(Exception):
    """Another worker has taken the run over (or it ended): stop and write nothing."""


class Claim(NamedTuple):
    """The right to work on a run, as long as its token is the newest."""

    run_id: str
    token: int
    owner: str
    lease_s: float


_FEED = "redis.call('XADD', KEYS[4], 'MAXLEN', '~', '2000', '*', 'event', 'run', 'data', ARGV[2])"

# KEYS: runs, open, order, feed. ARGV: id, json.
_REQUEST = f"""
local open = redis.call('GET', KEYS[2])
if open then return open end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('LPUSH', KEYS[3], ARGV[1])
{_FEED}
return ''
"""

# KEYS: runs, lease, tokens. ARGV: id, lease ms. A token while nobody holds a lease, else 0.
_ACQUIRE = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 0 end
local state = cjson.decode(text)['state']
if state ~= 'queued' and state ~= 'running' then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local token = redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[2], token, 'PX', ARGV[2])
return token
"""

# KEYS: runs, lease, open, feed. ARGV: id, json, token, previous json, 1 when the run ends.
# The compare with the previous json keeps a cancel that came in between.
_WRITE = f"""
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 'stale' end
if text ~= ARGV[4] then return 'changed' end
local lease = redis.call('GET', KEYS[2])
local run = cjson.decode(text)
if lease and lease ~= ARGV[3] then return 'stale' end
if not lease and tostring(run['token']) ~= ARGV[3] then return 'stale' end
if run['state'] ~= 'queued' and run['state'] ~= 'running' then return 'stale' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
{_FEED}
if ARGV[5] == '1' then
  redis.call('DEL', KEYS[2])
  if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
end
return 'ok'
"""

# KEYS: runs, lease. ARGV: id, token, lease ms. A lease that is gone is taken again while the token is still
# the newest: Redis was away, not this worker.
_RENEW = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then return 'lost' end
local run = cjson.decode(text)
local lease = redis.call('GET', KEYS[2])
if run['state'] ~= 'running' or tostring(run['token']) ~= ARGV[2] then return 'lost' end
if lease and lease ~= ARGV[2] then return 'lost' end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if run['cancel_requested'] then return 'cancel' end
return 'ok'
"""


class Runs:
    """Reads and writes run records. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._request = redis.register_script(_REQUEST)
        self._acquire = redis.register_script(_ACQUIRE)
        self._write = redis.register_script(_WRITE)
        self._renew = redis.register_script(_RENEW)

    async def request(self, requested_by: str, config: dict[str, Any] | None = None) -> Run:
        """Queue a run. Raises RunAlreadyOpen while another one is queued or running."""
        run = Run(
            id=new_id("run"), state="queued", requested_by=requested_by, config=config or {}, created_at=now()
        )
        with available():
            open_id = await self._request(
                keys=[keys.RUNS, keys.RUN_OPEN, keys.RUN_ORDER, keys.FEED],
                args=[run.id, run.model_dump_json()],
            )
        if open_id:
            raise RunAlreadyOpen(open_id)
        return run

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
        with available():
            run_id = await self._redis.get(keys.RUN_OPEN)
        return await self.get(run_id) if run_id else None

    async def acquire(self, run_id: str, owner: str, lease_s: float, max_attempts: int) -> Claim | None:
        """Take the run, or None when it ended, is held by a living worker, or has used up its attempts."""
        with available():
            token = await self._acquire(
                keys=[keys.RUNS, keys.run_lease(run_id), keys.RUN_TOKENS], args=[run_id, int(lease_s * 1000)]
            )
        if not token:
            return None
        claim = Claim(run_id, int(token), owner, lease_s)
        run = await self.get(run_id)
        assert run is not None
        if run.attempt >= max_attempts:
            last = f"; the last one said: {run.error}" if run.error else ""
            await self.finish(claim, "failed", error=f"gave up after {run.attempt} attempts{last}")
            return None
        await self.update(
            claim,
            state="running",
            attempt=run.attempt + 1,
            token=claim.token,
            owner=owner,
            started_at=run.started_at or now(),
        )
        return claim

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
        return await self._change(claim.run_id, claim.token, changes)

    async def set_stage(
        self, claim: Claim, stage: Stage, state: StageState, summary: dict[str, Any] | None = None
    ) -> Run:
        """Move one stage: `running` starts its clock, any end stops it; the summary grows."""
        run = await self.get(claim.run_id)
        if run is None:
            raise StaleClaim(claim.run_id)
        at = now()
        stages = tuple(
            _moved(status, state, summary or {}, at) if status.stage == stage else status
            for status in run.stages
        )
        return await self.update(claim, stages=stages)

    async def finish(
        self, claim: Claim, state: RunState, *, error: str | None = None, version: int | None = None
    ) -> Run:
        """End the run. Raises StaleClaim when another worker has it."""
        changes: dict[str, Any] = {"state": state, "error": error, "ended_at": now()}
        if version is not None:
            changes["version"] = version
        return await self._change(claim.run_id, claim.token, changes, ends=True)

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to stop: a queued one ends at once, a running one at its next renewal."""
        while True:
            text = await self._text(run_id)
            if text is None:
                return None
            run = Run.model_validate_json(text)
            if run.state not in ("queued", "running"):
                return run
            changes: dict[str, Any] = {"cancel_requested": True}
            if run.state == "queued":
                changes |= {"state": "cancelled", "ended_at": now()}
            changed = run.model_copy(update=changes)
            if await self._try_write(run_id, run.token, text, changed, ends=run.state == "queued") == "ok":
                return changed

    async def metric(
        self, claim: Claim, stage: Stage, step: int, of: int | None, values: dict[str, float]
    ) -> None:
        """Append one step's numbers to the run's stream and to the feed."""
        row = MetricRow(run_id=claim.run_id, stage=stage, step=step, of=of, values=values, at=now())
        data = row.model_dump_json()
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xadd(keys.run_metrics(claim.run_id), {"row": data})
                pipe.xadd(keys.FEED, {"event": "metric", "data": data}, maxlen=2000, approximate=True)
                await pipe.execute()

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
        if held or info["uptime_in_seconds"] < 2 * lease_s:
            return []
        if run.state == "running" or (now() - run.created_at).total_seconds() > QUEUED_TOO_LONG_S:
            return [run.id]
        return []

    async def _text(self, run_id: str) -> str | None:
        with available():
            text: str | None = await self._redis.hget(keys.RUNS, run_id)
        return text

    async def _change(self, run_id: str, token: int, changes: dict[str, Any], ends: bool = False) -> Run:
        while True:
            text = await self._text(run_id)
            if text is None:
                raise StaleClaim(run_id)
            changed = Run.model_validate_json(text).model_copy(update=changes)
            verdict = await self._try_write(run_id, token, text, changed, ends)
            if verdict == "ok":
                return changed
            if verdict == "stale":
                raise StaleClaim(f"{run_id}: token {token} is not the newest any more")

    async def _try_write(self, run_id: str, token: int, before: str, changed: Run, ends: bool) -> str:
        with available():
            return str(
                await self._write(
                    keys=[keys.RUNS, keys.run_lease(run_id), keys.RUN_OPEN, keys.FEED],
                    args=[run_id, changed.model_dump_json(), token, before, "1" if ends else "0"],
                )
            )


def _moved(status: StageStatus, state: StageState, summary: dict[str, Any], at: datetime) -> StageStatus:
    changes: dict[str, Any] = {"state": state, "summary": status.summary | json.loads(json.dumps(summary))}
    if state == "running":
        changes |= {"started_at": at, "ended_at": None}
    elif state in ("done", "failed", "skipped"):
        changes["ended_at"] = at
    return status.model_copy(update=changes)
