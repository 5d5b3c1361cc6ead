"""Requests: they wait in order, one a person, and become a run once or not at all."""

from __future__ import annotations

import asyncio

import pytest

from store.connection import Redis
from store.requests import Requests, RequestWaits
from store.runs import RunAlreadyOpen, Runs

pytestmark = pytest.mark.anyio


async def test_requests_wait_in_order_and_one_a_person(client: Redis) -> None:
    requests = Requests(client)
    first = await requests.add("acc_ann", "a new topic")
    second = await requests.add("acc_bob", "")
    with pytest.raises(RequestWaits) as refused:
        await requests.add("acc_ann", "again")
    assert refused.value.args == (first.id,)
    assert await requests.waiting() == [first, second]
    assert await requests.cancel(first.id) == first
    assert await requests.cancel(first.id) is None
    assert await requests.waiting() == [second]
    assert (await requests.add("acc_ann", "later")).reason == "later"


async def test_a_request_becomes_one_run_and_leaves_the_queue_with_it(client: Redis) -> None:
    runs, requests = Runs(client), Requests(client)
    open_run = await runs.request("votes")
    request = await requests.add("acc_ann", "a new topic")
    with pytest.raises(RunAlreadyOpen):
        await runs.start(request)
    assert await requests.waiting() == [request]
    await runs.cancel(open_run.id)
    results = await asyncio.gather(*(runs.start(request) for _ in range(8)), return_exceptions=True)
    (run,) = [one for one in results if one is not None and not isinstance(one, Exception)]
    assert not isinstance(run, BaseException)
    assert (run.requested_by, run.reason) == ("acc_ann", "a new topic")
    assert await requests.waiting() == []
    assert [one.id for one in await runs.newest()] == [run.id, open_run.id]


async def test_a_request_that_was_cancelled_meanwhile_starts_nothing(client: Redis) -> None:
    runs, requests = Runs(client), Requests(client)
    request = await requests.add("acc_ann", "")
    await requests.cancel(request.id)
    newer = await requests.add("acc_ann", "")
    assert await runs.start(request) is None
    assert await runs.current() is None
    assert await requests.waiting() == [newer]
