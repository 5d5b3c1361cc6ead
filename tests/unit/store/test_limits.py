"""Budgets of a person: spent at once, back evenly, the same for every server."""

from __future__ import annotations

import asyncio

import pytest

from store import keys
from store.connection import connect
from store.limits import Limits

pytestmark = pytest.mark.anyio


async def test_a_minutes_budget_may_be_spent_at_once_and_comes_back_evenly(redis_url: str) -> None:
    redis = connect(redis_url)
    limits = Limits(redis)
    assert [await limits.spend("votes", "ann", 3) for _ in range(3)] == [0, 0, 0]
    assert await limits.spend("votes", "ann", 3) == 20
    assert await limits.spend("votes", "bob", 3) == 0
    assert await limits.spend("messages", "ann", 3) == 0

    key = keys.budget("votes", "ann")
    await redis.set(key, float(await redis.get(key)) - 21, keepttl=True)  # 21 s later
    assert await limits.spend("votes", "ann", 3) == 0
    assert await limits.spend("votes", "ann", 3) in (19, 20)
    assert 0 < await redis.ttl(key) <= 60
    await redis.aclose()


async def test_a_clock_set_back_makes_nobody_wait(redis_url: str) -> None:
    redis = connect(redis_url)
    limits = Limits(redis)
    assert [await limits.spend("votes", "ann", 3) for _ in range(4)] == [0, 0, 0, 20]
    key = keys.budget("votes", "ann")
    await redis.set(key, float(await redis.get(key)) + 7200)
    assert [await limits.spend("votes", "ann", 3) for _ in range(4)] == [0, 0, 0, 20]
    await redis.aclose()


async def test_two_servers_spend_one_budget(redis_url: str) -> None:
    one, two = connect(redis_url), connect(redis_url)
    servers = [Limits(one), Limits(two)]
    waits = await asyncio.gather(*(servers[n % 2].spend("votes", "ann", 10) for n in range(40)))
    assert waits.count(0) == 10
    await one.aclose()
    await two.aclose()
