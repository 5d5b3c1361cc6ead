"""Every decision of the loop is in the audit log: who or what decided, about which version, and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from store.audit import Audit
from tests.unit.workers.test_canary import engines, votes
from tests.worker_parts import Platform
from workers import recipe, schedule
from workers.canary import decide
from workers.settings import Release

pytestmark = pytest.mark.anyio


async def trained(heed: Platform, **release: object) -> None:
    """Enough votes, the tick that sees them, and the run to its end."""
    for number in range(3):
        await heed.vote(text=f"Lesson {number}")
    settings = replace(heed.settings, release=Release(serve_timeout_s=5, **release))
    (run_id,) = await schedule.tick(settings)
    servers = asyncio.create_task(heed.serve())
    await recipe.retrain(run_id, settings)
    servers.cancel()
    await asyncio.gather(servers, return_exceptions=True)


async def test_the_log_tells_the_whole_story(heed: Platform) -> None:
    await engines(heed, 2)
    heed.plan(gate={"passed": False})
    await trained(heed)
    heed.plan()
    await trained(heed)
    await trained(heed, canary_ramp=(0.1, 0.5), canary_ramp_votes=2)
    for won, lost in ((1, 1), (18, 0)):
        await votes(heed, won, lost, against=3, canary=4)
        await decide(heed.redis, heed.settings)
    await heed.policies.rollback("ann", "it swears")
    told = [
        (event.actor, event.action, event.object, event.reason or event.detail.get("reason"))
        for event in reversed(await Audit(heed.redis).newest())
    ]
    runs = [f"run {run.id} passed the gate" for run in await heed.runs.newest()][::-1]
    why = told[7][3]
    assert told == [
        ("heed", "train_due", told[0][2], "votes"),
        ("heed", "held_back", "v2", "held back: ref_kl: 9.0 against 8.0: too far from the reference"),
        ("heed", "train_due", told[2][2], "votes"),
        ("release", "promote", "v3", runs[1]),
        ("heed", "train_due", told[4][2], "votes"),
        ("heed", "canary_start", "v4", runs[2]),
        ("heed", "canary_share", "v4", told[6][3]),
        ("heed", "canary_end", "v4", why),
        ("ann", "rollback", "v3", "it swears"),
    ]
    assert (told[6][3] or "").startswith("next step of the ramp: won 1 of 2 decisive votes")
    assert (why or "").startswith("better: won 19 of 20 decisive votes")
    assert [one.number for one in await heed.policies.timeline()] == [3, 4, 3, 1]
    assert (await Audit(heed.redis).verify()).broken_at is None
