"""Hot swaps against fake engines: the order of the calls, who is disturbed, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.engines import moves, reconcile, routing, swap
from server.engines.client import Delta
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from store.artifacts import verify
from store.records import ChatTurn, Sampling
from tests.unit.server.engines.conftest import Site

pytestmark = pytest.mark.anyio

SAY = [ChatTurn(role="user", content="Hi")]
LOADED = ["heed-loading", "pause", "reload v0002", "reset_prefix_cache", "resume"]


async def speaking(pool: EnginePool) -> tuple[Lease, asyncio.Task[list[Delta]]]:
    """An answer under way: it has said its first word."""
    lease, heard = await pool.lease(user="me"), asyncio.Event()

    async def speak() -> list[Delta]:
        said = []
        async for delta in pool.stream(lease, SAY, Sampling(max_tokens=2)):
            said.append(delta)
            heard.set()
        await lease.release()
        return said

    task = asyncio.create_task(speak())
    await heard.wait()
    return lease, task


async def test_a_fresh_engine_is_checked_before_it_answers(site: Site) -> None:
    pool = await site.start(1)
    assert site.engines[0].calls == ["greedy", "heed:v0001"]
    assert pool.serving == 1
    site.forget_calls()
    await site.server()
    assert site.engines[0].calls == [], "its label says that it was checked"
    assert site.pool.serving == 1


async def test_an_engine_that_is_being_met_is_not_loaded(site: Site) -> None:
    await site.start(1)
    await site.engines[0].die()
    await site.step()
    await site.engines[0].start()
    site.forget_calls()
    looking = asyncio.create_task(reconcile.look(site.pool, site.policies))
    while not looking.done():
        assert await moves.decide(site.pool, site.policies) == []
    assert site.engines[0].calls == ["greedy", "heed:v0001"]
    assert site.pool.serving == 1


async def test_an_idle_engine_takes_the_version_and_nobody_is_disturbed(site: Site) -> None:
    pool = await site.start(2)
    old, answer = await speaking(pool)
    assert old.engine.name == "engine-1"
    await site.publish(2, gated=True)
    site.forget_calls()
    await site.activate(2)
    await site.step()
    assert site.engines[0].calls == []
    drained = "heed-draining:v0001"  # so that no other server sends it anything
    assert site.engines[1].calls == [drained, *LOADED, "greedy", "greedy", "heed:v0002"]
    assert pool.serving == 2
    assert (await pool.lease(user="me")).engine.name == "engine-2"
    site.engines[0].gate.set()
    assert [delta.text for delta in await answer] == ["v0001 ", "v0001 ", ""]
    assert old.versions == (1,)
    await site.step(2)
    assert pool.served() == {1: "engine-1", 2: "engine-2"}, "the version before stays warm"


async def test_a_rollback_to_a_warm_version_is_a_change_of_route(site: Site) -> None:
    pool = await site.start(2)
    await site.publish(2)
    await site.activate(2)
    await site.step()
    site.forget_calls()
    await site.policies.rollback("test", "worse")
    await site.step()
    assert pool.serving == 1
    assert [engine.calls for engine in site.engines] == [[], []]


async def test_an_engine_with_answers_drains_before_it_is_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "BATCH", 1)  # so that each engine gets an answer
    pool = await site.start(2)
    answers = [await speaking(pool), await speaking(pool)]
    await site.publish(2)
    site.forget_calls()
    await site.activate(2)
    await site.step(2)
    assert site.engines[1].calls == ["heed-draining:v0001"]
    assert {(await pool.lease(user="you")).engine.name for _ in range(4)} == {"engine-1"}
    for engine in site.engines:
        engine.gate.set()
    await asyncio.gather(*(task for _, task in answers))
    async with asyncio.timeout(5):
        while pool.serving != 2:
            await site.step()
    assert [lease.versions for lease, _ in answers] == [(1,), (1,)]


async def test_an_engine_that_was_to_drain_answers_again_when_the_pointer_is_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "BATCH", 1)  # so that each engine gets an answer
    pool = await site.start(2)
    answers = [await speaking(pool), await speaking(pool)]
    await site.publish(2)
    await site.activate(2)
    await site.step()
    assert pool.engines[1].draining
    await site.policies.rollback("test", "not this one")
    await site.step()
    assert not pool.engines[1].draining
    assert site.engines[1].label == "heed:v0001"
    for engine in site.engines:
        engine.gate.set()
    await asyncio.gather(*(task for _, task in answers))


async def test_the_answers_of_other_servers_are_waited_for(site: Site) -> None:
    pool = await site.start(2)
    await site.publish(2)
    site.engines[1].others = 1
    site.forget_calls()
    await site.activate(2)
    await site.step(2)
    assert pool.serving == 1
    assert "pause" not in site.engines[1].calls
    site.engines[1].others = 0
    await site.step()
    assert pool.serving == 2


async def test_other_servers_get_the_time_to_see_that_an_engine_drains(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an answer that they had just sent would be of two versions."""
    await site.start(2)
    await site.policies.report_serving("another server", 1)
    await site.publish(2)
    await site.activate(2)
    await site.step()
    assert site.engines[1].label == "heed-draining:v0001"
    assert "pause" not in site.engines[1].calls
    monkeypatch.setattr(moves, "SEEN_S", 0.0)
    await site.step()
    assert site.engines[1].weights == "v0002"


async def test_a_lone_engine_holds_its_answers_and_marks_them(site: Site) -> None:
    pool = await site.start(1)
    lease, answer = await speaking(pool)
    await site.publish(2)
    await site.activate(2)
    swapping = asyncio.create_task(site.step())
    while pool.engines[0].state != "loading":
        await asyncio.sleep(0)
    new = await pool.lease(user="you")
    await swapping
    assert new.versions == (2,), "an answer that comes during the swap waits for the new version"
    site.engines[0].gate.set()
    assert [delta.text for delta in await answer] == ["v0001 ", "v0002 ", ""]
    assert lease.versions == (1, 2)


async def test_weights_with_nan_are_refused_before_an_engine_hears_of_them(site: Site) -> None:
    await site.start(2)
    await site.publish(2, finite=False)
    site.forget_calls()
    await site.activate(2)
    await site.step()
    assert [engine.calls for engine in site.engines] == [[], []]
    version = await site.policies.get(2)
    assert version is not None
    assert version.state == "rejected"
    assert "lm_head.weight holds NaN" in (version.reason or "")
    active = await site.policies.active()
    assert active is not None
    assert active.number == 1


async def test_a_folder_that_was_changed_after_sealing_is_refused(site: Site) -> None:
    await site.start(1)
    await site.publish(2)
    (site.home / "policies" / "v0002" / "model.safetensors").write_bytes(b"else")
    site.forget_calls()
    await site.activate(2)
    await site.step()
    assert site.engines[0].calls == []
    assert await site.state(2) == "rejected"


async def test_a_damaged_first_version_is_not_read_again_all_the_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.start(1)
    site.engines[0].label = "heed-loading"
    (site.home / "policies" / "v0001" / "model.safetensors").write_bytes(b"else")
    read: list[Path] = []

    def counted(folder: Path) -> dict[str, Any]:
        read.append(folder)
        return verify(folder)

    monkeypatch.setattr(swap, "verify", counted)
    await site.step(3)
    assert len(read) == 1
    assert "differs from the manifest" in (site.pool.statuses()[0].error or "")
    assert await site.state(1) == "active", "there is no other"


@pytest.mark.parametrize("count", [1, 2])
async def test_weights_that_compute_nan_leave_no_trace(site: Site, count: int) -> None:
    """Finite weights may overflow: then the engine gets its version back, and a KV cache without NaN."""
    pool = await site.start(count)
    await site.publish(2)
    loaded = site.engines[-1]
    loaded.computes_nan = {"v0002"}
    site.forget_calls()
    await site.activate(2)
    await site.step()
    back = ["heed-loading", "pause", "clear_kv_cache", "reload v0001", "reset_prefix_cache", "resume"]
    drained = ["heed-draining:v0001"] if count == 2 else []
    assert loaded.calls == [*drained, *LOADED, "greedy", *back, "greedy", "heed:v0001"]
    assert not loaded.spoiled
    version = await site.policies.get(2)
    assert version is not None
    assert version.state == "rejected"
    assert "not finite" in (version.reason or "")
    assert pool.serving == 1
    assert pool.served() == {1: loaded.socket.stem}


async def test_half_of_the_fingerprints_must_be_right(site: Site) -> None:
    pool = await site.start(2)
    await site.publish(2, gated=True)
    site.engines[1].mumbles["v0002"] = 1
    await site.activate(2)
    await site.step()
    assert pool.serving == 2


async def test_an_engine_that_gives_other_answers_than_the_gate_saw_is_refused(site: Site) -> None:
    pool = await site.start(2)
    await site.publish(2, gated=True)
    site.engines[1].mumbles["v0002"] = 2
    await site.activate(2)
    await site.step()
    assert pool.serving == 1
    version = await site.policies.get(2)
    assert version is not None
    assert "only 0 of 2 greedy answers" in (version.reason or "")


async def test_a_load_that_left_old_weights_behind_is_undone_and_tried_again(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    pool = await site.start(2)
    await site.publish(2)
    site.engines[1].keeps_old = {"v0002"}
    lease, answer = await speaking(pool)
    await site.activate(2)
    await site.step()
    assert "resume" in site.engines[1].calls
    assert site.engines[1].weights == "v0001"
    assert "lm_head.weight" in (pool.statuses()[1].error or "")
    assert await site.state(2) == "active", "the engine may be to blame"
    site.engines[1].keeps_old = set()
    await site.step()
    assert pool.serving == 2
    assert lease.versions == (1,)
    site.engines[0].gate.set()
    await answer


async def test_a_version_that_no_engine_takes_whole_is_taken_back(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    pool = await site.start(2)
    await site.publish(2)
    for engine in site.engines:
        engine.keeps_old = {"v0002"}
    await site.activate(2)
    await site.step(3)
    assert await site.state(2) == "rejected"
    assert pool.serving == 1
    assert all(engine.weights == "v0001" for engine in site.engines)


async def test_one_engine_that_fails_does_not_take_a_version_from_the_others(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    pool = await site.start(3)
    await site.publish(2)
    await site.activate(2)
    site.engines[0].computes_nan = {"v0002"}
    await site.step(4)
    assert "greedy" in site.engines[0].calls
    assert "reload v0002" in site.engines[0].calls
    assert pool.serving == 2
    assert await site.state(2) == "active"


async def test_an_engine_that_keeps_failing_is_ended_for_its_supervisor(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    await site.start(1)
    engine = site.engines[0]
    engine.label, engine.weights = "heed-loading", "half of something"
    engine.refuses = {"v0001"}
    await site.step(2)
    assert "end_process" not in engine.calls
    await site.step()
    assert "end_process" in engine.calls
    engine.refuses = set()
    await engine.start()
    await site.step(2)
    assert site.pool.serving == 1


async def test_a_slow_look_at_one_engine_delays_none_at_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "LOOK_S", 0.05)
    pool = await site.start(2)
    site.engines[0].silent = True
    await site.engines[1].die()
    await reconcile.look(pool, site.policies)
    assert pool.engines[1].state == "down"
    assert pool.engines[0].state == "ready", "it may be busy"
    assert pool.engines[0].seeing is not None
    pool.engines[0].seeing.cancel()


async def test_an_engine_that_cannot_go_back_is_down_with_the_reason_and_tried_again(site: Site) -> None:
    pool = await site.start(1)
    await site.publish(2)
    site.engines[0].refuses = {"v0001", "v0002"}
    await site.activate(2)
    await moves.settle(pool, site.policies)
    (status,) = pool.statuses()
    assert status.state == "down"
    assert "shape mismatch" in (status.error or "")
    assert not pool.served()
    site.forget_calls()
    await site.step(3)
    assert site.engines[0].calls == [], "not again at once"
    site.engines[0].refuses = set()
    pool.engines[0].retry_at = 0
    await site.step()
    assert pool.serving == 2
    assert pool.statuses()[0].error is None


async def test_a_version_that_engines_fail_on_is_taken_back(site: Site, at_once: Callable[[], None]) -> None:
    at_once()
    pool = await site.start(1)
    await site.publish(2)
    site.engines[0].refuses = {"v0001", "v0002"}
    await site.activate(2)
    await site.step(2)
    assert await site.state(2) == "rejected"
    site.engines[0].refuses = set()
    await site.step()
    assert pool.serving == 1


async def test_a_version_that_served_before_is_not_blamed_for_its_engines(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    await site.start(1)
    await site.publish(2)
    await site.activate(2)
    await site.step()
    await site.activate(1, expected=2)
    site.engines[0].refuses = {"v0001", "v0002"}
    await site.step(4)
    assert await site.state(1) == "active"


async def test_a_version_that_serves_is_not_taken_back_for_an_engine_that_fails_on_it(
    site: Site, at_once: Callable[[], None]
) -> None:
    at_once()
    pool = await site.start(2)
    await site.publish(2)
    await site.activate(2)
    await site.step()
    site.engines[0].label = "heed-loading"
    site.engines[0].refuses = {"v0002"}
    await site.step(4)
    assert site.engines[0].calls.count("reload v0002") > 1
    assert pool.serving == 2
    assert await site.state(2) == "active"


async def test_a_swap_that_a_dead_server_left_half_done_is_done_again(site: Site) -> None:
    pool = await site.start(1)
    engine = site.engines[0]
    engine.label, engine.weights = "heed-loading", "half of v0002"
    await reconcile.look(pool, site.policies)
    assert not pool.served()
    site.forget_calls()
    await site.step()
    assert "clear_kv_cache" in engine.calls
    assert engine.weights == "v0001"
    assert pool.serving == 1


async def test_a_restarted_engine_is_noticed_and_brought_up_to_date(site: Site) -> None:
    pool = await site.start(1)
    await site.publish(2)
    await site.activate(2)
    await site.step()
    assert pool.serving == 2
    await site.engines[0].die()
    await site.step()
    assert pool.statuses()[0].state == "down"
    await site.engines[0].start()  # on version 1, as if the pointer's file had not been written yet
    await site.step()
    assert pool.serving == 2
    assert site.engines[0].weights == "v0002"


async def test_an_engine_that_starts_on_unsound_weights_never_answers_with_them(site: Site) -> None:
    pool = await site.start(1)
    await site.publish(2)
    await site.activate(2)
    await site.engines[0].die()
    site.engines[0].root = site.home / "policies" / "v0002"
    site.engines[0].computes_nan = {"v0002"}
    await site.step()
    await site.engines[0].start()
    await reconcile.look(pool, site.policies)
    assert not pool.served()
    (status,) = pool.statuses()
    assert status.state == "down"
    assert "not finite" in (status.error or "")
    async with asyncio.timeout(5):
        while not pool.served():
            pool.engines[0].retry_at = 0
            await site.step()
    assert pool.serving == 1
    assert await site.state(2) == "rejected"
    assert not site.engines[0].spoiled


async def test_a_swap_by_another_server_is_followed(site: Site) -> None:
    pool = await site.start(1)
    pool.drives = False
    lease, answer = await speaking(pool)
    await site.publish(2)
    await site.activate(2)
    site.forget_calls()
    site.engines[0].weights, site.engines[0].label = "v0002", "heed:v0002"
    await reconcile.look(pool, site.policies)
    assert pool.serving == 2
    assert lease.versions == (1, 2)
    assert site.engines[0].calls == []
    site.engines[0].gate.set()
    await answer


async def test_versions_move_and_are_reported_while_it_runs(site: Site) -> None:
    await site.start(2)
    site.pool.drives = False
    running = asyncio.create_task(reconcile.run(site.pool, site.policies, site.registry, "here"))
    await site.publish(2)
    await site.activate(2)
    async with asyncio.timeout(10):
        while (await site.policies.serving()).get("here") != 2:
            await asyncio.sleep(0.02)
    assert {status.state for status in await site.policies.engines()} == {"ready"}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with site.policies.lock("engines"):
        pass
