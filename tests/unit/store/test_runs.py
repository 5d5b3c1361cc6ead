"""Runs: one at a time, one worker at a time, and a stale worker can write nothing."""

from __future__ import annotations

import asyncio
import random
import signal
from datetime import timedelta

import pytest
from pydantic import ValidationError

from store import keys
from store.connection import Redis, StoreUnavailable, connect
from store.records import MetricRow, Run, now
from store.runs import Claim, RunAlreadyOpen, Runs, StaleClaim
from tests.conftest import RedisServer
from tests.present import present

pytestmark = pytest.mark.anyio

LEASE_S = 30.0


async def lose_lease(client: Redis, claim: Claim) -> None:
    """As if the worker had been frozen for longer than its lease."""
    await client.delete(keys.run_lease(claim.run_id))


async def uptime(client: Redis, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let Redis say that it has been up for so long; a test cannot wait for it."""

    async def info(section: str) -> dict[str, float]:
        return {"uptime_in_seconds": seconds}

    monkeypatch.setattr(client, "info", info)


async def test_second_run_is_refused_while_one_is_open(client: Redis) -> None:
    runs = Runs(client)
    first = await runs.request("votes")
    with pytest.raises(RunAlreadyOpen) as refused:
        await runs.request("acc_1")
    assert refused.value.args == (first.id,)
    claim = present(await runs.acquire(first.id, "w1", LEASE_S, 3))
    with pytest.raises(RunAlreadyOpen):
        await runs.request("acc_1")
    await runs.finish(claim, "succeeded")
    second = await runs.request("acc_1")
    assert present(await runs.current()).id == second.id
    assert [run.id for run in await runs.newest()] == [second.id, first.id]


async def test_of_runs_requested_at_once_one_is_made(client: Redis) -> None:
    runs = Runs(client)
    results = await asyncio.gather(*(runs.request("votes") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, Run) for result in results) == 1
    assert len(await runs.newest()) == 1


async def test_acquired_run_is_running_with_attempt_token_and_owner(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    running = present(await runs.get(run.id))
    assert (running.state, running.attempt, running.token, running.owner) == ("running", 1, claim.token, "w1")
    assert running.started_at is not None


async def test_acquire_is_refused_while_the_lease_is_alive(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    assert await runs.acquire(run.id, "w1", LEASE_S, 3)
    assert await runs.acquire(run.id, "w2", LEASE_S, 3) is None
    assert present(await runs.get(run.id)).attempt == 1


async def test_of_workers_that_acquire_at_once_one_gets_the_run(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    tries = [runs.acquire(run.id, f"w{number}", LEASE_S, 3) for number in range(10)]
    claims = [claim for claim in await asyncio.gather(*tries) if claim]
    assert len(claims) == 1
    assert present(await runs.get(run.id)).owner == claims[0].owner


async def test_acquire_takes_over_when_the_lease_has_run_out(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    first = present(await runs.acquire(run.id, "w1", 0.05, 3))
    await asyncio.sleep(0.1)
    second = present(await runs.acquire(run.id, "w2", LEASE_S, 3))
    assert second.token > first.token
    assert present(await runs.get(run.id)).attempt == 2


async def test_run_fails_when_its_attempts_are_used_up(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    for number in range(3):
        claim = present(await runs.acquire(run.id, f"w{number}", LEASE_S, max_attempts=3))
        await runs.update(claim, error="exited with 137")
        await lose_lease(client, claim)
    assert await runs.acquire(run.id, "w4", LEASE_S, max_attempts=3) is None
    failed = present(await runs.get(run.id))
    assert failed.state == "failed"
    assert failed.error == "gave up after 3 attempts; the last one said: exited with 137"
    assert failed.ended_at is not None
    assert await runs.current() is None
    assert await runs.acquire(run.id, "w5", LEASE_S, max_attempts=3) is None


async def test_unknown_or_ended_run_cannot_be_acquired(client: Redis) -> None:
    runs = Runs(client)
    assert await runs.acquire("run_none", "w1", LEASE_S, 3) is None
    run = await runs.request("votes")
    await runs.finish(present(await runs.acquire(run.id, "w1", LEASE_S, 3)), "succeeded")
    assert await runs.acquire(run.id, "w2", LEASE_S, 3) is None


async def test_stale_claim_can_write_nothing(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    stale = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    await lose_lease(client, stale)
    fresh = present(await runs.acquire(run.id, "w2", LEASE_S, 3))
    before = await runs.get(run.id)
    for write in (
        lambda: runs.update(stale, error="late"),
        lambda: runs.set_stage(stale, "ppo", "done"),
        lambda: runs.metric(stale, "ppo", 1, 2, {"reward_mean": 1.0}),
        lambda: runs.finish(stale, "succeeded", version=2),
    ):
        with pytest.raises(StaleClaim):
            await write()
    assert await runs.renew(stale) == "lost"
    assert await runs.get(run.id) == before
    assert await runs.metrics(run.id) == []
    assert await runs.renew(fresh) == "ok"


async def test_ended_run_cannot_be_written(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    ended = await runs.finish(claim, "succeeded", version=2)
    assert ended.version == 2
    with pytest.raises(StaleClaim):
        await runs.finish(claim, "failed", error="late")
    assert await runs.renew(claim) == "lost"
    assert await runs.get(run.id) == ended
    assert not await client.exists(keys.run_lease(run.id))


async def test_made_up_claim_is_stale(client: Redis) -> None:
    runs = Runs(client)
    with pytest.raises(StaleClaim):
        await runs.update(Claim("run_none", 1, "w1", LEASE_S), error="x")
    assert await runs.renew(Claim("run_none", 1, "w1", LEASE_S)) == "lost"


async def test_update_with_an_unknown_field_or_a_wrong_value_is_refused(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    for changes in ({"colour": "red"}, {"state": "paused"}):
        with pytest.raises(ValidationError):
            await runs.update(claim, **changes)


async def test_stage_keeps_its_times_and_its_summary_grows(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    await runs.set_stage(claim, "reward", "running", {"pairs": 10})
    done = await runs.set_stage(claim, "reward", "done", {"accuracy": 0.7})
    reward = next(status for status in done.stages if status.stage == "reward")
    assert reward.summary == {"pairs": 10, "accuracy": 0.7}
    assert present(reward.started_at) <= present(reward.ended_at)
    assert {status.state for status in done.stages if status.stage != "reward"} == {"waiting"}


async def test_queued_run_is_cancelled_at_once(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    assert present(await runs.cancel(run.id)).state == "cancelled"
    assert await runs.current() is None
    assert await runs.acquire(run.id, "w1", LEASE_S, 3) is None


async def test_cancel_of_a_running_run_reaches_the_next_renewal(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    assert await runs.renew(claim) == "ok"
    assert present(await runs.cancel(run.id)).state == "running"
    assert await runs.renew(claim) == "cancel"
    await runs.update(claim, error="stopping")  # a write between the two keeps the flag
    assert await runs.renew(claim) == "cancel"
    assert (await runs.finish(claim, "cancelled")).state == "cancelled"


async def test_cancelled_run_whose_worker_died_ends_without_another_attempt(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    await runs.cancel(run.id)
    await lose_lease(client, claim)
    assert await runs.acquire(run.id, "w2", LEASE_S, 3) is None
    ended = present(await runs.get(run.id))
    assert (ended.state, ended.attempt) == ("cancelled", 1)


async def test_cancel_of_an_ended_or_unknown_run_changes_nothing(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    ended = await runs.finish(present(await runs.acquire(run.id, "w1", LEASE_S, 3)), "succeeded")
    assert await runs.cancel(run.id) == ended
    assert await runs.cancel("run_none") is None


async def test_no_change_is_lost_when_many_write_at_once(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    writes = [runs.set_stage(claim, "ppo", "running", {str(number): number}) for number in range(10)]
    await asyncio.gather(*writes, runs.cancel(run.id))
    after = present(await runs.get(run.id))
    ppo = next(status for status in after.stages if status.stage == "ppo")
    assert ppo.summary == {str(number): number for number in range(10)}
    assert after.cancel_requested


async def test_lease_that_went_with_redis_is_taken_again(redis_server: RedisServer) -> None:
    async with connect(redis_server.url) as client:
        runs = Runs(client)
        run = await runs.request("votes")
        claim = present(await runs.acquire(run.id, "w1", 0.2, 3))
        redis_server.stop(signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await runs.renew(claim)
        await asyncio.sleep(0.3)  # the lease runs out meanwhile
        await asyncio.to_thread(redis_server.start)
        assert not await client.exists(keys.run_lease(run.id))
        assert await runs.renew(claim) == "ok"
        assert await client.get(keys.run_lease(run.id)) == str(claim.token)
        assert present(await runs.get(run.id)).attempt == 1


async def test_janitor_names_what_nobody_holds_and_somebody_should(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(client)
    await uptime(client, monkeypatch, 1000)
    assert await runs.stale(LEASE_S) == []
    run = await runs.request("votes")
    assert await runs.stale(LEASE_S) == []  # queued a moment ago
    old = run.model_copy(update={"created_at": now() - timedelta(seconds=61)})
    await client.hset(keys.RUNS, run.id, old.model_dump_json())
    assert await runs.stale(LEASE_S) == [run.id]
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    assert await runs.stale(LEASE_S) == []
    await lose_lease(client, claim)
    assert await runs.stale(LEASE_S) == [run.id]


async def test_janitor_cuts_a_lease_that_outlives_a_clock_set_back(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(client)
    await uptime(client, monkeypatch, 1000)
    claim = present(await runs.acquire((await runs.request("votes")).id, "w1", LEASE_S, 3))
    await client.expire(keys.run_lease(claim.run_id), 7200)
    assert await runs.stale(LEASE_S) == []  # its worker may be alive, and renews it
    assert await client.ttl(keys.run_lease(claim.run_id)) <= LEASE_S


async def test_janitor_waits_for_renewals_after_a_restart_of_redis(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    await lose_lease(client, present(await runs.acquire(run.id, "w1", LEASE_S, 3)))
    await uptime(client, monkeypatch, 59)
    assert await runs.stale(LEASE_S) == []
    await uptime(client, monkeypatch, 60)
    assert await runs.stale(LEASE_S) == [run.id]


async def test_metrics_are_read_in_order_and_after_an_id(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    for step in range(4):
        await runs.metric(claim, "ppo", step, 4, {"reward_mean": step / 10})
    rows = await runs.metrics(run.id)
    assert [(row.step, row.values["reward_mean"]) for _, row in rows] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
    ]
    assert await runs.metrics(run.id, after=rows[1][0]) == rows[2:]


async def test_every_change_is_in_the_feed(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    claim = present(await runs.acquire(run.id, "w1", LEASE_S, 3))
    await runs.set_stage(claim, "ppo", "running")
    await runs.metric(claim, "ppo", 1, 2, {"reward_mean": 0.5})
    await runs.cancel(run.id)
    await runs.finish(claim, "cancelled")
    entries = [fields for _, fields in await client.xrange(keys.FEED)]
    assert [entry["event"] for entry in entries] == ["run", "run", "run", "metric", "run", "run"]
    assert Run.model_validate_json(entries[-1]["data"]) == await runs.get(run.id)
    assert MetricRow.model_validate_json(entries[3]["data"]).values == {"reward_mean": 0.5}


async def test_any_order_of_events_leaves_one_writer_and_one_end(client: Redis) -> None:
    runs = Runs(client)
    for seed in range(15):
        chance = random.Random(seed)
        run = await runs.request("votes")
        claims: list[Claim] = []
        ends = 0
        for _ in range(25):
            act = chance.choice(("acquire", "lose", "update", "finish", "cancel"))
            if act == "acquire" and (claim := await runs.acquire(run.id, "w", LEASE_S, 6)):
                assert all(claim.token > other.token for other in claims)
                claims.append(claim)
            elif act == "lose" and claims:
                await lose_lease(client, claims[-1])
            elif act == "cancel" and chance.random() < 0.2:
                await runs.cancel(run.id)
            elif act in ("update", "finish") and claims and (act == "update" or chance.random() < 0.2):
                claim, token = chance.choice(claims), present(await runs.get(run.id)).token
                write = runs.finish(claim, "succeeded") if act == "finish" else runs.update(claim, error=act)
                try:
                    await write
                    assert claim.token == token
                    ends += act == "finish"
                except StaleClaim:
                    ended = present(await runs.get(run.id)).state not in ("queued", "running")
                    assert ended or claim.token != token
        assert ends <= 1
        left = present(await runs.get(run.id))
        assert (await runs.current() is None) == (left.state not in ("queued", "running"))
        await client.flushall()


async def test_a_run_that_is_given_back_has_its_attempt_and_no_lease(client: Redis) -> None:
    runs = Runs(client)
    run = await runs.request("votes")
    for deploy in range(4):  # more than there are attempts
        claim = await runs.acquire(run.id, "host:1:7", LEASE_S, 2)
        assert claim is not None, deploy
        assert await runs.give_back("host:11") is None, "another worker's run"
        given = present(await runs.give_back("host:1"))
        assert (given.attempt, given.owner, given.state) == (0, None, "running")
        assert await runs.give_back("host:1") is None, "given back twice"
    for attempt in (1, 2):
        claim = await runs.acquire(run.id, "host:1:7", LEASE_S, 2)
        assert claim is not None
        await lose_lease(client, claim)
        assert present(await runs.get(run.id)).attempt == attempt
    assert await runs.acquire(run.id, "host:1:7", LEASE_S, 2) is None
    assert present(await runs.get(run.id)).state == "failed"
