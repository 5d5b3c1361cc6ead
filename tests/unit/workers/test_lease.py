"""The lease: kept while work goes on, given up when told, and leaving never hangs."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from store.connection import StoreUnavailable
from store.runs import Claim, StaleClaim
from tests.worker_parts import Platform
from workers.lease import Cancelled, Lease, patiently

pytestmark = pytest.mark.anyio


async def claimed(heed: Platform, lease_s: float = 0.3) -> Claim:
    run = await heed.runs.request("votes")
    claim = await heed.runs.acquire(run.id, "host:1", lease_s, 3)
    assert claim is not None
    return claim


async def test_the_lease_outlives_its_length_while_it_is_held(heed: Platform) -> None:
    claim = await claimed(heed)
    async with Lease(heed.runs, claim):
        await asyncio.sleep(0.8)
        assert await heed.redis.get(f"heed:run:{claim.run_id}:lease") == str(claim.token)
    await asyncio.sleep(0.4)
    assert await heed.redis.get(f"heed:run:{claim.run_id}:lease") is None


async def test_a_cancel_and_then_a_loss_are_told_apart(heed: Platform) -> None:
    claim = await claimed(heed)
    async with Lease(heed.runs, claim) as lease:
        lease.check()
        await heed.runs.cancel(claim.run_id)
        async with asyncio.timeout(1):
            assert await lease.stopped() == "cancel"
        with pytest.raises(Cancelled):
            await lease.confirm()
        await heed.runs.finish(claim, "failed")
        with pytest.raises(StaleClaim):
            await lease.confirm()


async def test_leaving_ends_although_the_client_swallows_the_cancel(heed: Platform) -> None:
    """`asyncio.wait_for` in Python 3.11 returns a result that is there instead of raising the cancel."""

    class Swallowing:
        async def renew(self, claim: Claim) -> Literal["ok"]:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                return "ok"
            return "ok"

    runs: Any = Swallowing()
    async with asyncio.timeout(2):
        async with Lease(runs, Claim("run", 1, "host:1", 30)):
            await asyncio.sleep(0.05)


async def test_a_lease_that_cannot_be_renewed_is_lost() -> None:
    class Broken:
        async def renew(self, claim: Claim) -> Literal["ok"]:
            raise ValueError("the record cannot be read")

    runs: Any = Broken()
    async with asyncio.timeout(2), Lease(runs, Claim("run", 1, "host:1", 30)) as lease:
        assert await lease.stopped() == "lost"


async def test_patience_has_an_end() -> None:
    tries = 0

    async def away() -> None:
        nonlocal tries
        tries += 1
        raise StoreUnavailable("Redis is not available")

    with pytest.raises(StoreUnavailable):
        await patiently(away, patience_s=1)
    assert tries == 2
