"""One retrain: steps 5 to 9 of the loop in order, and how each way to end is written down."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from store.connection import Redis, connect
from store.conversations import Conversations
from store.dataset.split import NotEnoughData
from store.imports import Imports
from store.lineage import Lineage
from store.opinions import Opinions
from store.policies import Policies
from store.queue import Queue
from store.records import RunState
from store.run_options import RunOptionsBook
from store.runs import Runs, StaleClaim
from store.start_rules import StartRulesBook
from store.votes import VoteLog
from workers.asking import ask
from workers.attempt import HeldBack, RunFailed, Work
from workers.child import StageFailed
from workers.freezing import freeze
from workers.lease import Cancelled, Lease, patiently
from workers.release import hold_back_unless_passed, release
from workers.schedule import settle
from workers.settings import WorkerSettings
from workers.snapshot import SnapshotChanged
from workers.steps import gate, ppo, reward
from workers.stopping import owner

BULKY = ("believed", "pairs", "lesson", "held_back_lesson", "reward", "ppo/checkpoints", "candidate")
"""In an attempt's folder."""

logger = logging.getLogger(__name__)


async def train(work: Work) -> int:
    """The number of the version that came out, released or held back.

    Raises HeldBack when the reward model failed its gate: then no version comes out.
    """
    frozen = await freeze(work)
    reward_model = await reward(work, frozen)
    await hold_back_unless_passed(work, reward_model)
    candidate = await ppo(work, frozen, reward_model)
    report = await gate(work, frozen, reward_model, candidate)
    number = await release(work, frozen, reward_model, candidate, report)
    await ask(work, number)
    return number


async def retrain(run_id: str, settings: WorkerSettings) -> None:
    """Take the run and bring it to its end; nothing happens when it ended or a living worker has it.

    A failure that another attempt may heal leaves the run `running` without a worker: its lease runs out and
    the janitor wakes it, until `max_attempts`.
    """
    async with connected(settings) as redis:
        runs = Runs(redis)
        schedule = settings.schedule
        claim = await patiently(
            lambda: runs.acquire(run_id, owner(), schedule.lease_s, schedule.max_attempts)
        )
        if claim is None:
            return
        async with Lease(runs, claim) as lease:
            work = Work(
                settings=settings,
                claim=claim,
                lease=lease,
                runs=runs,
                votes=VoteLog(redis, settings.data),
                lineage=Lineage(redis),
                imports=Imports(redis, settings.data),
                policies=Policies(redis, settings.data),
                conversations=Conversations(redis, settings.data),
                queue=Queue(redis),
                opinions=Opinions(redis),
                options=RunOptionsBook(redis),
                rules=StartRulesBook(redis),
            )
            try:
                await _to_its_end(work)
            except StaleClaim as error:
                logger.warning("stopped: %s", error)
                return
        await patiently(lambda: settle(runs, VoteLog(redis, settings.data)))


async def _to_its_end(work: Work) -> None:
    try:
        version = await train(work)
    except Cancelled:
        await _finish(work, "cancelled")
    except HeldBack as error:
        await _finish(work, "succeeded", error=str(error))
    except (RunFailed, NotEnoughData, SnapshotChanged) as error:
        await _finish(work, "failed", error=str(error))
    except StageFailed as error:
        await _try_again(work, str(error))
    except StaleClaim:
        raise
    except Exception as error:
        await _try_again(work, f"{type(error).__name__}: {error}")
        raise
    else:
        await _finish(work, "succeeded", version=version)


async def _try_again(work: Work, error: str) -> None:
    """Write the error down; the last attempt ends the run."""
    run = await patiently(lambda: work.runs.update(work.claim, error=error))
    logger.error("attempt %d of %s: %s", run.attempt, run.id, error)
    if run.attempt >= work.settings.schedule.max_attempts:
        await _finish(work, "failed", error=f"gave up after {run.attempt} attempts; the last one: {error}")


async def _finish(
    work: Work, state: RunState, *, error: str | None = None, version: int | None = None
) -> None:
    async def finish() -> None:
        try:
            await work.runs.finish(work.claim, state, error=error, version=version)
        except StaleClaim:
            run = await work.runs.get(work.claim.run_id)
            if run is None or run.token != work.claim.token or run.state != state:
                raise  # otherwise a first try wrote it and its answer was lost

    await patiently(finish)
    logger.info("%s %s", work.claim.run_id, state)
    await asyncio.to_thread(
        _clean, work.settings.data / "runs", None if state == "succeeded" else work.folder
    )


def _clean(runs: Path, kept: Path | None) -> None:
    """Remove what only a training in progress needs: what counts is sealed; reports and logs stay.

    A run that did not succeed is kept whole until the next one ends: it can be taken up again.
    """
    for attempt in runs.glob("*/attempt-*"):
        if attempt.parent != kept:
            for bulky in BULKY:
                shutil.rmtree(attempt / bulky, ignore_errors=True)


@asynccontextmanager
async def connected(settings: WorkerSettings) -> AsyncIterator[Redis]:
    """A client of the store for one task."""
    redis = connect(settings.redis_url)
    try:
        yield redis
    finally:
        await redis.aclose()
