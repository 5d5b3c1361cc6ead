"""Who speaks next: turns by person, all places or none, and no place is ever lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import admission
from server.admission import Admission, DrainRate, Waiting
from server.engines.pool import EnginePool
from server.errors import NoEngine, QueueFull, VersionNotServed
from server.metrics import Metrics
from server.settings import QueueConfig
from tests.fakes import ScriptedPool

pytestmark = pytest.mark.anyio


class Line:
    """An admission over scripted engines, and the order in which requests got their places."""

    def __init__(self, *versions: int, places: int = 1, per_user: int = 64, length: int = 256) -> None:
        self.pool = ScriptedPool(*versions or (1,), places=places)
        self.at = 0.0
        config = QueueConfig.model_construct(places=places, per_user=per_user, length=length)
        self.admission = Admission(self.pool, config, Metrics(), lambda: self.at)
        self.names: dict[Waiting, str] = {}
        self.waiting: list[Waiting] = []

    def enter(self, name: str, versions: Sequence[int | None] = (None,)) -> Waiting:
        """`name` is the person and a number, such as `ann2`."""
        waiting = self.admission.enter(name.rstrip("0123456789"), lambda: versions)
        self.names[waiting] = name
        self.waiting.append(waiting)
        return waiting

    def served(self) -> list[str]:
        """Those who got their places since the last look."""
        got = [one for one in self.waiting if one.granted.done()]
        self.waiting = [one for one in self.waiting if one not in got]
        return [self.names[one] for one in got]

    async def order(self) -> list[str]:
        """End the answers one by one; who comes next, each time."""
        order = self.served()
        while under_way := [lease for engine in self.pool.engines for lease in engine.leases]:
            await under_way[0].release()
            order += self.served()
        return order


async def test_people_take_turns_and_each_is_told_how_many_go_first() -> None:
    line = Line()
    for name in ("ann1", "ann2", "ann3", "ann4", "bob1", "bob2", "cat1"):
        line.enter(name)
    expected = ["ann1", "ann2", "bob1", "cat1", "ann3", "bob2", "ann4"]
    told = {line.names[one]: line.admission.ahead(one) for one in line.waiting if not one.granted.done()}
    assert told == {name: place for place, name in enumerate(expected[1:])}
    assert await line.order() == expected


async def test_who_has_a_hundred_requests_does_not_keep_others_waiting() -> None:
    line = Line()
    for number in range(100):
        line.enter(f"ann{number}")
    line.enter("bob1")
    assert (await line.order()).index("bob1") == 2  # ann0 speaks, ann1 was there before


async def test_a_duel_takes_both_places_or_none_and_is_not_overtaken_for_ever() -> None:
    line = Line(places=2)
    one, other = line.enter("ann1"), line.enter("bob1")
    line.enter("cat1", (None, None))
    for number in range(3):
        line.enter(f"dan{number}")
    line.served()
    await one.leave()
    assert line.served() == [], "one place is free, and it is kept for the duel"
    assert line.pool.in_flight == 1
    await other.leave()
    assert line.served() == ["cat1"]
    assert line.pool.in_flight == 2


async def test_two_duels_between_the_same_versions_cannot_block_each_other() -> None:
    line = Line(1, 2, places=1)
    for number in range(6):
        line.enter(f"person{chr(97 + number)}1", (1, 2) if number % 2 else (2, 1))
    assert await line.order() == [f"person{chr(97 + number)}1" for number in range(6)]


async def test_a_full_version_does_not_hold_up_another_one() -> None:
    line = Line(1, 2, places=1)
    line.enter("ann1", (2,))
    line.enter("bob1", (2,))
    line.enter("cat1", (1,))
    assert line.served() == ["ann1", "cat1"]


async def test_a_person_at_the_limit_waits_while_others_pass() -> None:
    line = Line(places=8, per_user=2)
    waits = [line.enter(f"ann{number}") for number in range(4)]
    line.enter("bob1")
    assert line.served() == ["ann0", "ann1", "bob1"]
    await waits[0].leave()
    assert line.served() == ["ann2"]


async def test_a_duel_is_possible_for_a_person_who_may_have_one_answer_only() -> None:
    line = Line(places=8, per_user=1)
    line.enter("ann1", (None, None))
    line.enter("ann2")
    assert line.served() == ["ann1"]


async def test_in_a_full_queue_the_longest_line_loses_its_last() -> None:
    line = Line(length=3)
    line.enter("ann0")
    mine = [line.enter(f"ann{number}") for number in (1, 2, 3)]
    with pytest.raises(QueueFull, match="3 requests wait"):
        line.enter("ann4")
    line.enter("bob1")  # others still find room
    with pytest.raises(QueueFull):
        await mine[2].leases()
    assert line.admission.length == 3
    assert (await line.order())[:3] == ["ann0", "ann3", "ann1"]  # ann3 is done: it was refused


async def test_retry_after_is_how_long_the_queue_needs_at_its_measured_speed() -> None:
    line = Line(length=8)
    speaks = line.enter("ann0")
    for number in range(8):
        line.enter(f"ann{number + 1}")
    with pytest.raises(QueueFull) as caught:
        line.enter("ann9")
    assert caught.value.retry_after_s == admission.RETRY_S, "nothing is measured yet"
    for number in range(6):  # one every half second
        line.at += 0.5
        await speaks.leave()
        speaks = line.waiting[1 + number]
        line.enter(f"ann{10 + number}")
    line.at += 0.5
    with pytest.raises(QueueFull) as caught:
        line.enter("ann99")
    assert caught.value.retry_after_s == 4  # 6 in 3 s, so 8 take 4 s
    assert str(caught.value.retry_after_s) in (caught.value.remedy or "")


async def test_the_measured_speed_forgets_and_has_bounds() -> None:
    at = [0.0]
    rate = DrainRate(lambda: at[0])
    rate.count()
    at[0] = 10.0
    assert rate.seconds_for(1) == 10
    assert rate.seconds_for(1000) == admission.RETRY_MOST_S
    at[0] = 31.0
    assert rate.seconds_for(1) == admission.RETRY_S


async def test_who_leaves_the_queue_frees_it_for_those_behind() -> None:
    line = Line(places=2)
    line.enter("ann1")
    duel = line.enter("bob1", (None, None))
    line.enter("cat1")
    assert line.served() == ["ann1"]
    await duel.leave()
    assert "cat1" in line.served()
    assert line.admission.length == 0


async def test_places_that_were_given_to_somebody_who_left_come_back() -> None:
    line = Line()
    first, second = line.enter("ann1"), line.enter("bob1")
    asking = asyncio.create_task(second.leases())
    await asyncio.sleep(0)
    asking.cancel()
    await first.leave()  # second has its lease now, and nobody who takes it
    await asyncio.wait({asking})
    await second.leave()
    await second.leave()
    assert line.pool.in_flight == 0


async def test_there_is_nothing_to_wait_for_without_an_engine_or_its_version() -> None:
    line = Line(1)
    with pytest.raises(VersionNotServed):
        line.enter("ann1", (9,))
    line.pool.go_down()
    with pytest.raises(NoEngine):
        line.enter("ann1")
    assert line.admission.length == 0


async def test_a_version_that_goes_while_somebody_waits_for_it_is_told() -> None:
    line = Line(1, 2)
    line.enter("ann1", (2,))
    waits = line.enter("bob1", (2,))
    line.pool.engines[1].version = 3
    line.pool.route()
    with pytest.raises(VersionNotServed):
        await waits.leases()


async def test_who_waits_outlives_an_engine_that_restarts_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "LOOK_S", 0.001)
    line = Line()
    line.enter("ann1")
    waits, gives_up = line.enter("bob1"), line.enter("bob2")
    line.pool.go_down()
    line.pool.engines[0].leases.clear()
    line.pool.come_back()
    line.pool.route()
    assert (await waits.leases())[0].version == 1
    line.at += admission.PATIENCE_S + 1
    with pytest.raises(QueueFull, match="120 s"):
        await gives_up.leases()
    assert line.admission.length == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "enter", "leave", "leave", "down", "up", "swap"]),
        st.integers(0, 3),
        st.sampled_from([(None,), (None, None), (1,), (2,), (1, 2), (2, 2)]),
    ),
    max_size=60,
)


def held(pool: EnginePool) -> int:
    return sum(len(engine.leases) for engine in pool.engines)


@given(steps=STEPS, places=st.integers(2, 3), per_user=st.integers(1, 4), length=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_no_place_is_lost_and_none_is_given_twice(
    steps: list[tuple[str, int, tuple[int | None, ...]]], places: int, per_user: int, length: int
) -> None:
    async def play() -> None:
        line = Line(1, 2, places=places, per_user=per_user, length=length)
        entered: deque[tuple[Waiting, int]] = deque()
        for what, number, versions in steps:
            engine = line.pool.engines[number % 2]
            if what == "enter":
                with suppress(QueueFull, NoEngine, VersionNotServed):
                    entered.append((line.enter(f"user{chr(97 + number)}", versions), len(versions)))
            elif what == "leave" and entered:
                entered.rotate(number)
                await entered.popleft()[0].leave()
            elif what == "down":
                line.pool.lost(engine, "killed")
            elif what == "up" and engine.state == "down":
                engine.state, engine.version = "ready", 1 + number % 2
                line.pool.route()
            elif what == "swap" and engine.state == "ready":
                engine.version = 1 + (number // 2) % 2
                line.pool.route()
            check(line, entered, places, length)
        for waiting, _ in entered:
            await waiting.leave()
        assert held(line.pool) == line.admission.length == 0

    asyncio.run(play())


def check(line: Line, entered: deque[tuple[Waiting, int]], places: int, length: int) -> None:
    given_out = 0
    for waiting, wanted in entered:
        if waiting.granted.done() and not waiting.granted.cancelled() and not waiting.granted.exception():
            leases = waiting.granted.result()
            assert len(leases) == wanted, "all places or none"
            given_out += wanted
    assert given_out == held(line.pool)
    assert all(len(engine.leases) <= places for engine in line.pool.engines)
    assert line.admission.length <= length
    line.admission._serve()
    assert given_out == held(line.pool), "nobody waits who could be served"
