"""Locks: one holder, kept while it lives, and a holder that lost it is stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from store import keys
from store.connection import Redis
from store.policies import LockHeld, Policies
from tests.present import present

pytestmark = pytest.mark.anyio


@pytest.fixture
def policies(client: Redis, volume: Path) -> Policies:
    return Policies(client, volume)


async def test_lock_has_one_holder_and_is_free_afterwards(policies: Policies) -> None:
    async with policies.lock("engines"):
        with pytest.raises(LockHeld):
            async with policies.lock("engines"):
                pass
        async with policies.lock("another"):
            pass
    async with policies.lock("engines"):
        pass


async def test_lock_is_kept_beyond_its_time_to_live(policies: Policies) -> None:
    async with policies.lock("engines", ttl_s=0.15):
        await asyncio.sleep(0.4)
        with pytest.raises(LockHeld):
            async with policies.lock("engines"):
                pass


async def test_lock_of_a_holder_that_died_before_the_clock_was_set_back_ends_in_its_time(
    policies: Policies, client: Redis
) -> None:
    await client.set(keys.lock("engines"), "of the dead", px=7_200_000)
    with pytest.raises(LockHeld):
        async with policies.lock("engines", ttl_s=0.15):
            pass
    await asyncio.sleep(0.2)
    async with policies.lock("engines", ttl_s=0.15):
        pass


async def test_lock_is_free_after_an_error(policies: Policies) -> None:
    with pytest.raises(ZeroDivisionError):
        async with policies.lock("engines"):
            raise ZeroDivisionError
    async with policies.lock("engines"):
        pass


async def test_holder_that_lost_its_lock_is_stopped_and_leaves_the_new_one_alone(
    policies: Policies, client: Redis
) -> None:
    async def body() -> None:
        async with policies.lock("engines", ttl_s=0.15):
            await client.set(keys.lock("engines"), "somebody else")
            await asyncio.sleep(5)

    with pytest.raises(LockHeld, match="taken over"):
        await body()
    assert await client.get(keys.lock("engines")) == "somebody else"
    assert present(asyncio.current_task()).cancelling() == 0  # it goes on as if nothing had cancelled it


async def test_lock_that_ran_out_is_taken_again_when_nobody_has_it(policies: Policies, client: Redis) -> None:
    async with policies.lock("engines", ttl_s=0.15):
        await client.delete(keys.lock("engines"))
        await asyncio.sleep(0.2)
        assert await client.exists(keys.lock("engines"))


async def test_cancelled_holder_lets_the_lock_go(policies: Policies, client: Redis) -> None:
    async def body() -> None:
        async with policies.lock("engines"):
            await asyncio.sleep(60)

    task = asyncio.create_task(body())
    await asyncio.sleep(0.05)
    assert await client.exists(keys.lock("engines"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await client.exists(keys.lock("engines"))
