"""A canary on engines: who holds it, what its crash or its failed checks do, how it ends."""

from __future__ import annotations

import pytest

from store.policies import CanaryRefused
from tests.unit.server.engines.conftest import Site

pytestmark = pytest.mark.anyio


async def trial(site: Site, engines: int) -> None:
    """Version 2 is tried beside version 1."""
    pool = await site.start(engines)
    await site.publish(2, gated=True)
    await site.policies.report_engines("here", pool.statuses())
    await site.policies.start_canary(2, 0.5, "ann", "passed the gate")


async def test_an_idle_engine_takes_the_canary_and_keeps_it(site: Site) -> None:
    await trial(site, 2)
    assert site.pool.canary is None, "not yet held"
    await site.step()
    assert site.pool.canary == 2
    assert site.pool.serving == 1
    assert len(site.pool.served()) == 2
    site.forget_calls()
    await site.step(3)
    assert [engine.calls for engine in site.engines] == [[], []]


async def test_a_promoted_canary_serves_at_once(site: Site) -> None:
    await trial(site, 2)
    await site.step()
    site.forget_calls()
    await site.policies.end_canary("promoted", "ann", "better")
    await site.step()
    assert site.pool.serving == 2
    assert site.pool.canary is None
    assert [engine.calls for engine in site.engines] == [[], []], "no weights moved"
    assert await site.state(1) == "retired"


async def test_a_canary_that_was_taken_back_gets_no_answers(site: Site) -> None:
    await trial(site, 2)
    await site.step()
    await site.policies.end_canary("rolled_back", "ann", "worse")
    await site.step()
    assert site.pool.canary is None
    assert site.pool.serving == 1
    assert await site.state(2) == "rolled_back"


async def test_a_killed_canary_takes_nothing_else_down_and_comes_back(site: Site) -> None:
    await trial(site, 2)
    await site.step()
    name = site.pool.served()[2]
    held = next(engine for engine in site.engines if engine.socket.stem == name)
    await held.die()
    site.forget_calls()
    await site.step(2)
    assert site.pool.canary is None
    assert site.pool.serving == 1
    assert len(site.pool.served()) == 1
    assert all("reload" not in call for engine in site.engines for call in engine.calls)
    await held.start()  # its supervisor starts it on the active version
    await site.step(2)
    assert site.pool.canary == 2
    assert site.pool.serving == 1


async def test_a_killed_active_engine_does_not_make_the_canary_active(site: Site) -> None:
    await trial(site, 2)
    await site.step()
    name = site.pool.served()[1]
    active = next(engine for engine in site.engines if engine.socket.stem == name)
    await active.die()
    await site.step(2)
    assert site.pool.serving == 2, "better than nothing until the engine is back"
    await active.start()
    await site.step()
    assert site.pool.serving == 1
    assert site.pool.canary == 2
    pointer = await site.policies.active()
    assert pointer is not None
    assert pointer.number == 1


@pytest.mark.parametrize("how", ["nan", "fingerprint"])
async def test_a_canary_that_fails_its_checks_is_rejected_and_nobody_notices(site: Site, how: str) -> None:
    await trial(site, 2)
    for engine in site.engines:
        if how == "nan":
            engine.computes_nan = {"v0002"}
        else:
            engine.mumbles["v0002"] = 2
    lease = await site.pool.lease(user="me")
    await site.step()
    assert await site.state(2) == "rejected"
    version = await site.policies.get(2)
    assert version is not None
    assert "failed its checks" in (version.reason or "")
    assert await site.policies.canary() is None
    assert lease.versions == (1,)
    await site.step(2)
    assert not any(engine.spoiled for engine in site.engines)
    assert len([one for one in site.pool.engines if one.state == "ready" and one.version == 1]) == 2


async def test_one_engine_cannot_hold_a_canary(site: Site) -> None:
    with pytest.raises(CanaryRefused, match="two engines") as refused:
        await trial(site, 1)
    assert "join" in refused.value.remedy
    assert await site.state(2) == "candidate"


async def test_the_third_engine_keeps_the_active_version(site: Site) -> None:
    await trial(site, 3)
    await site.step(2)
    assert sorted(engine.version or 0 for engine in site.pool.engines) == [1, 1, 2]
