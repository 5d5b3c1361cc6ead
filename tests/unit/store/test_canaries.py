"""The canary pointer: begins, changes, ends, with the pointer of the active version or without."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from store import keys
from store.audit import Audit
from store.connection import Redis
from store.decisions import CanaryOutcome
from store.policies import CanaryRefused, Policies
from store.records import EngineState, EngineStatus, PolicyState, PolicyVersion, now
from tests.present import present

pytestmark = pytest.mark.anyio


@pytest.fixture
async def policies(client: Redis, volume: Path) -> Policies:
    """Versions 1 (active), 2 and 3, and two engines."""
    policies = Policies(client, volume)
    for number in (1, 2, 3):
        folder = f"v{number:04d}"
        await policies.register(
            PolicyVersion(number=number, folder=folder, sha256=f"digest {number}", created_at=now())
        )
    await policies.activate(1, "setup", "base", expected=None)
    await engines(policies, "ready", "ready")
    return policies


async def engines(policies: Policies, *states: EngineState, draining: tuple[int, ...] = ()) -> None:
    statuses = [
        EngineStatus(name=f"e{n}", address="unix:///e", state=state, draining=n in draining, seen_at=now())
        for n, state in enumerate(states)
    ]
    await policies.report_engines("here", statuses)


async def states(policies: Policies) -> dict[int, PolicyState]:
    return {one.number: one.state for one in await policies.versions()}


async def acts(client: Redis) -> list[tuple[str, str, Any]]:
    newest = await Audit(client).newest()
    return [(event.action, event.object, event.detail.get("outcome")) for event in newest][::-1]


async def test_it_begins_changes_and_is_promoted(policies: Policies, client: Redis) -> None:
    assert await policies.canary() is None
    begun = await policies.start_canary(2, 0.1, "ann", "passed the gate")
    assert await policies.canary() == begun
    assert (begun.number, begun.share, begun.actor) == (2, 0.1, "ann")
    assert await states(policies) == {3: "candidate", 2: "canary", 1: "active"}
    changed = await policies.change_canary_share(0.5, "ann", "it does well")
    assert await policies.canary() == changed
    assert (changed.share, changed.started_at) == (0.5, begun.started_at)
    await policies.end_canary("promoted", "ann", "better")
    assert await policies.canary() is None
    assert await states(policies) == {3: "candidate", 2: "active", 1: "retired"}
    assert present(await policies.previous()).number == 1
    assert await acts(client) == [
        ("canary_start", "v2", None),
        ("canary_share", "v2", None),
        ("canary_end", "v2", "promoted"),
    ]
    entries = [fields for _, fields in await client.xrange(keys.FEED)]
    assert {entry["event"] for entry in entries} == {"policy", "engines"}


@pytest.mark.parametrize(
    ("outcome", "state"), [("rolled_back", "rolled_back"), ("rejected", "rejected"), ("stopped", "candidate")]
)
async def test_it_ends_without_becoming_active(
    policies: Policies, client: Redis, outcome: CanaryOutcome, state: PolicyState
) -> None:
    await policies.start_canary(2, 0.1, "ann", "try")
    await policies.end_canary(outcome, "ann", "enough")
    assert await policies.canary() is None
    assert present(await policies.active()).number == 1
    version = present(await policies.get(2))
    assert (version.state, version.reason) == (state, "enough")
    assert (await acts(client))[-1] == ("canary_end", "v2", outcome)


async def test_a_retired_version_that_was_tried_again_is_retired_again(policies: Policies) -> None:
    await policies.activate(2, "ann", "forward", expected=1)
    await policies.start_canary(1, 0.1, "ann", "was it better?")
    await policies.end_canary("stopped", "ann", "enough")
    assert present(await policies.previous()).number == 1


async def test_only_one_runs(policies: Policies) -> None:
    await policies.start_canary(2, 0.1, "ann", "try")
    with pytest.raises(CanaryRefused, match="runs already"):
        await policies.start_canary(3, 0.1, "ann", "try")
    assert present(await policies.canary()).number == 2
    assert (await states(policies))[3] == "candidate"


async def test_of_starts_at_once_one_wins(policies: Policies) -> None:
    tries = [policies.start_canary(number, 0.1, "ann", "race") for number in (2, 3, 2, 3)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, CanaryRefused) for result in results) == 3
    assert list((await states(policies)).values()).count("canary") == 1


async def test_what_cannot_be_tried_is_refused(policies: Policies) -> None:
    await policies.set_state(2, "rejected", "it computes NaN")
    with pytest.raises(CanaryRefused, match="v2 is rejected: it computes NaN"):
        await policies.start_canary(2, 0.1, "ann", "try")
    with pytest.raises(CanaryRefused, match="v1 is active"):
        await policies.start_canary(1, 0.1, "ann", "try")
    with pytest.raises(KeyError):
        await policies.start_canary(7, 0.1, "ann", "try")
    for act in (policies.end_canary("stopped", "ann", "?"), policies.change_canary_share(0.2, "ann", "?")):
        with pytest.raises(CanaryRefused, match="no canary runs"):
            await act
    with pytest.raises(ValueError, match="share"):
        await policies.start_canary(3, 1.5, "ann", "try")
    assert await policies.canary() is None


@pytest.mark.parametrize(
    ("seen", "draining"), [((), ()), (("ready",), ()), (("ready", "down"), ()), (("ready", "ready"), (1,))]
)
async def test_it_needs_two_engines(
    policies: Policies, client: Redis, seen: tuple[EngineState, ...], draining: tuple[int, ...]
) -> None:
    await engines(policies, *seen, draining=draining)
    with pytest.raises(CanaryRefused, match="two engines") as refused:
        await policies.start_canary(2, 0.1, "ann", "try")
    assert "another engine" in refused.value.remedy
    assert (await states(policies))[2] == "candidate"


async def test_it_ends_when_the_pointer_moves(policies: Policies, client: Redis) -> None:
    await policies.activate(2, "ann", "forward", expected=1)
    await policies.start_canary(3, 0.1, "ann", "try")
    await policies.rollback("ann", "v2 swears")
    assert await policies.canary() is None
    assert await states(policies) == {3: "candidate", 2: "rolled_back", 1: "active"}
    assert (await acts(client))[-1] == ("canary_end", "v3", "stopped")


async def test_a_canary_that_is_activated_was_promoted(policies: Policies, client: Redis) -> None:
    await policies.start_canary(2, 0.1, "ann", "try")
    await policies.activate(2, "ann", "sure", expected=1)
    assert await policies.canary() is None
    assert (await acts(client))[-1] == ("canary_end", "v2", "promoted")


async def test_a_canary_that_gets_another_state_has_ended(policies: Policies) -> None:
    await policies.start_canary(2, 0.1, "ann", "try")
    await policies.set_state(3, "rejected", "something else")
    assert present(await policies.canary()).number == 2
    await policies.set_state(2, "rejected", "found later")
    assert await policies.canary() is None
