"""Policies: numbers, the one pointer, rollback, who serves what."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from store import keys
from store.connection import Redis
from store.policies import (
    NothingToRollBackTo,
    PointerMoved,
    Policies,
    VersionExists,
    read_pointer,
    write_pointer,
)
from store.records import EngineState, EngineStatus, PolicyState, PolicyVersion, now
from tests.present import present

pytestmark = pytest.mark.anyio


@pytest.fixture
def policies(client: Redis, volume: Path) -> Policies:
    return Policies(client, volume)


def version(number: int, **fields: Any) -> PolicyVersion:
    known: dict[str, Any] = {"folder": f"v{number:04d}", "sha256": f"digest {number}", "created_at": now()}
    return PolicyVersion(number=number, **known | fields)


async def registered(policies: Policies, *numbers: int) -> None:
    for number in numbers:
        await policies.register(version(number))


async def states(policies: Policies) -> dict[int, PolicyState]:
    return {one.number: one.state for one in await policies.versions()}


async def test_a_run_gets_the_same_number_at_every_call(policies: Policies) -> None:
    await registered(policies, 1)
    assert [await policies.number_for_run(run) for run in ("run_a", "run_a", "run_b", "run_a")] == [
        2,
        2,
        3,
        2,
    ]


async def test_runs_that_ask_at_once_get_different_numbers(policies: Policies) -> None:
    runs = [f"run_{number % 5}" for number in range(20)]
    numbers = await asyncio.gather(*(policies.number_for_run(run) for run in runs))
    assert len(set(zip(runs, numbers, strict=True))) == len(set(numbers)) == 5


async def test_registering_again_keeps_what_became_of_the_version(policies: Policies) -> None:
    await registered(policies, 1)
    await policies.activate(1, "setup", "base", expected=None)
    await registered(policies, 1)
    assert await states(policies) == {1: "active"}


async def test_other_weights_under_a_number_that_served_are_refused(policies: Policies) -> None:
    await registered(policies, 1)
    await policies.register(version(1, sha256="remade before it served"))
    await policies.activate(1, "setup", "base", expected=None)
    with pytest.raises(VersionExists, match="version 1"):
        await policies.register(version(1, sha256="other"))
    assert present(await policies.get(1)).sha256 == "remade before it served"


async def test_activation_moves_pointer_file_states_and_timeline(policies: Policies, volume: Path) -> None:
    await registered(policies, 1, 2)
    await policies.activate(1, "setup", "base model", expected=None)
    activation = await policies.activate(2, "release", "passed the gate", expected=1)
    assert (activation.number, activation.previous) == (2, 1)
    assert present(await policies.active()).number == 2
    assert read_pointer(volume) == volume / "policies" / "v0002"
    assert await states(policies) == {2: "active", 1: "retired"}
    assert [(line.number, line.previous, line.actor) for line in await policies.timeline()] == [
        (2, 1, "release"),
        (1, None, "setup"),
    ]


@pytest.mark.parametrize("expected", [None, 2, 3])
async def test_activation_is_refused_unless_the_expected_version_is_active(
    policies: Policies, volume: Path, expected: int | None
) -> None:
    await registered(policies, 1, 2, 3)
    await policies.activate(1, "setup", "base", expected=None)
    with pytest.raises(PointerMoved):
        await policies.activate(2, "release", "late", expected=expected)
    assert present(await policies.active()).number == 1
    assert present(read_pointer(volume)).name == "v0001"
    assert await states(policies) == {3: "candidate", 2: "candidate", 1: "active"}
    assert len(await policies.timeline()) == 1


async def test_unknown_version_cannot_be_activated(policies: Policies) -> None:
    with pytest.raises(KeyError, match="no version 7"):
        await policies.activate(7, "release", "?", expected=None)
    with pytest.raises(KeyError, match="no version 7"):
        await policies.set_state(7, "rejected")


async def test_of_activations_at_once_one_wins_and_the_file_names_it(
    policies: Policies, volume: Path
) -> None:
    await registered(policies, 1, *range(2, 12))
    await policies.activate(1, "setup", "base", expected=None)
    tries = [policies.activate(number, "release", "race", expected=1) for number in range(2, 12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, PointerMoved) for result in results) == 9
    active = present(await policies.active())
    assert present(read_pointer(volume)).name == active.folder
    assert [number for number, state in (await states(policies)).items() if state == "active"] == [
        active.number
    ]


async def test_rollback_goes_back_and_again_is_well_defined(policies: Policies, volume: Path) -> None:
    await registered(policies, 1, 2, 3)
    for number, expected in ((1, None), (2, 1), (3, 2)):
        await policies.activate(number, "release", "forward", expected=expected)
    assert present(await policies.previous()).number == 2
    assert (await policies.rollback("ann", "it swears")).number == 2
    assert await states(policies) == {3: "rolled_back", 2: "active", 1: "retired"}
    assert present(await policies.get(3)).reason == "it swears"
    # Not back to 3, which was taken back itself.
    assert (await policies.rollback("ann", "this one too")).number == 1
    assert present(read_pointer(volume)).name == "v0001"
    assert await policies.previous() is None
    with pytest.raises(NothingToRollBackTo):
        await policies.rollback("ann", "once more")
    assert present(await policies.active()).number == 1


async def test_version_released_after_a_rollback_rolls_back_to_what_was_active(policies: Policies) -> None:
    await registered(policies, 1, 2, 3)
    await policies.activate(1, "setup", "base", expected=None)
    await policies.activate(2, "release", "forward", expected=1)
    await policies.rollback("ann", "no")
    await policies.activate(3, "release", "forward", expected=1)
    assert present(await policies.previous()).number == 1


async def test_rejected_version_is_never_rolled_back_to(policies: Policies) -> None:
    await registered(policies, 1, 2, 3)
    for number, expected in ((1, None), (2, 1), (3, 2)):
        await policies.activate(number, "release", "forward", expected=expected)
    await policies.set_state(2, "rejected", "its fingerprints differ")
    assert (await policies.rollback("ann", "no")).number == 1


async def test_nothing_was_ever_active(policies: Policies, volume: Path) -> None:
    assert await policies.active() is None
    assert await policies.previous() is None
    assert read_pointer(volume) is None
    with pytest.raises(NothingToRollBackTo):
        await policies.rollback("ann", "?")


async def test_any_order_of_acts_leaves_one_active_version_which_the_file_names(
    policies: Policies, client: Redis, volume: Path
) -> None:
    for seed in range(5):
        chance = random.Random(seed)
        await registered(policies, *range(1, 6))
        for _ in range(15):
            active = await policies.active()
            act = chance.choice(("activate", "late", "rollback", "reject"))
            number = chance.randint(1, 5)
            try:
                if act == "activate":
                    expected = active.number if active else None
                    await policies.activate(number, "t", act, expected=expected)
                elif act == "late":
                    await policies.activate(number, "t", act, expected=chance.choice((None, 1, 2, 3)))
                elif act == "rollback":
                    await policies.rollback("t", act)
                elif active is None or number != active.number:
                    await policies.set_state(number, "rejected", act)
            except (PointerMoved, NothingToRollBackTo):
                pass
            active, found = await policies.active(), await states(policies)
            if active is not None:
                assert [one for one, state in found.items() if state == "active"] == [active.number]
                assert present(read_pointer(volume)).name == active.folder
                assert (await policies.timeline())[0].number == active.number
        await client.flushall()


async def test_every_change_of_a_version_is_in_the_feed(policies: Policies, client: Redis) -> None:
    await registered(policies, 1, 2)
    await policies.activate(1, "setup", "base", expected=None)
    await policies.activate(2, "release", "forward", expected=1)
    await policies.set_state(1, "rejected", "found later")
    entries = [fields for _, fields in await client.xrange(keys.FEED)]
    assert {entry["event"] for entry in entries} == {"policy"}
    said = [PolicyVersion.model_validate_json(entry["data"]) for entry in entries]
    assert [(one.number, one.state) for one in said] == [
        (1, "candidate"),
        (2, "candidate"),
        (1, "active"),
        (2, "active"),
        (1, "retired"),
        (1, "rejected"),
    ]


async def test_pointer_file_names_the_last_activation_also_when_the_writes_overtake(
    policies: Policies, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(policies, 1, 2, 3)
    await policies.activate(1, "setup", "base", expected=None)

    def slow_for_2(volume: Path, folder: str) -> None:
        time.sleep(0.2 if folder == "v0002" else 0)
        write_pointer(volume, folder)

    monkeypatch.setattr("store.policies.write_pointer", slow_for_2)
    late = asyncio.create_task(policies.activate(2, "release", "slow disk", expected=1))
    while present(await policies.active()).number != 2:
        await asyncio.sleep(0.01)
    await policies.activate(3, "ann", "at once", expected=2)
    await late
    assert present(read_pointer(volume)).name == "v0003"


def test_reader_of_the_pointer_file_sees_the_old_name_or_the_new_one(volume: Path) -> None:
    write_pointer(volume, "v0001")
    with open(volume / "policies" / "ACTIVE") as reader:
        write_pointer(volume, "v0002")
        assert reader.read() == "v0001\n"
    assert present(read_pointer(volume)).name == "v0002"


def test_pointer_file_is_whole_or_the_old_one_when_writing_breaks_off(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pointer(volume, "v0001")

    def power_cut(handle: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr("os.fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write_pointer(volume, "v0002")
    assert present(read_pointer(volume)).name == "v0001"


async def test_servers_report_what_they_serve_until_they_are_gone(policies: Policies, client: Redis) -> None:
    assert await policies.serving() == {}
    await policies.report_serving("s1", 1)
    await policies.report_serving("s2", 2)
    assert await policies.serving() == {"s1": 1, "s2": 2}
    await policies.report_serving("s1", 2)
    await client.delete(keys.serving("s2"))  # as its time to live does
    assert await policies.serving() == {"s1": 2}
    assert 0 < await client.ttl(keys.serving("s1")) <= 15


async def test_of_two_reports_on_an_engine_the_newer_counts(policies: Policies) -> None:
    def seen(version: int, ago_s: float) -> EngineStatus:
        at = now() - timedelta(seconds=ago_s)
        return EngineStatus(name="engine-1", address="unix:///e1", state="ready", version=version, seen_at=at)

    await policies.report_engines("s2", [seen(1, 5)])
    await policies.report_engines("s1", [seen(2, 0)])
    await policies.report_engines("s3", [seen(1, 9)])
    assert [engine.version for engine in await policies.engines()] == [2]


async def test_the_feed_hears_of_an_engine_when_more_than_its_load_changes(
    policies: Policies, client: Redis
) -> None:
    def seen(state: EngineState, in_flight: int) -> EngineStatus:
        return EngineStatus(
            name="engine-1", address="unix:///e1", state=state, in_flight=in_flight, seen_at=now()
        )

    for status in (seen("ready", 0), seen("ready", 3), seen("down", 0), seen("down", 0)):
        await policies.report_engines("s1", [status])
    entries = [fields for _, fields in await client.xrange(keys.FEED)]
    assert {entry["event"] for entry in entries} == {"engines"}
    assert [json.loads(entry["data"])["engines"][0]["state"] for entry in entries] == ["ready", "down"]
