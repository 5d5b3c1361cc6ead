"""The plan: which engine is swapped next."""

from __future__ import annotations

import pytest

from server.engines.client import EngineClient
from server.engines.engine import Engine, Lease
from server.engines.plan import ABSENT_S, Step, Wish, next_steps

AT = 1000.0


def engine(name: str, version: int | None, *, answers: int = 0, gone_s: float | None = None) -> Engine:
    one = Engine(EngineClient(name, f"unix:///nowhere/{name}"), version=version, alive=gone_s is None)
    one.state = "ready" if version is not None else "down"
    one.absent_since = AT - (gone_s or 0)
    one.leases = {Lease(one, version or 0, "me") for _ in range(answers)}
    return one


def next_step(engines: list[Engine], wanted: int, serving: int | None, at: float) -> Step | None:
    steps = next_steps(engines, Wish(wanted), serving, at)
    assert len(steps) < 2
    assert all(step.version == wanted for step in steps)
    return steps[0] if steps else None


def said(step: Step | None) -> tuple[str, str] | None:
    return None if step is None else (step.engine.name, step.how)


def plan(engines: list[Engine], wish: Wish) -> dict[str, tuple[str, int]]:
    steps = next_steps(engines, wish, wish.active, AT)
    return {step.engine.name: (step.how, step.version) for step in steps}


def test_a_lone_engine_is_swapped_with_its_answers_held() -> None:
    assert said(next_step([engine("a", 1, answers=3)], 2, 1, AT)) == ("a", "hold")


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        pytest.param([("a", 2, 1), ("b", 1, 0)], ("b", "load"), id="the-warm-one-takes-it"),
        pytest.param([("a", 2, 1), ("b", 1, 1)], ("b", "drain"), id="an-old-answer-ends-first"),
        pytest.param([("a", 2, 1), ("b", 2, 0)], ("b", "load"), id="both-serve-the-last-makes-room"),
        pytest.param([("a", 2, 0), ("b", 2, 1)], ("b", "drain"), id="both-serve-the-last-drains"),
        pytest.param([("a", 2, 0), ("b", None, 0)], ("b", "load"), id="one-holds-nothing"),
        pytest.param([("a", 3, 0), ("b", 2, 1)], None, id="done-the-old-one-stays-warm"),
        pytest.param([("a", 3, 0), ("b", None, 0)], ("b", "load"), id="done-but-one-holds-nothing"),
        pytest.param(
            [("a", 3, 0), ("b", 2, 0), ("c", 2, 0)], ("b", "load"), id="of-three-the-second-follows"
        ),
        pytest.param([("a", 3, 0), ("b", 1, 0), ("c", 2, 0)], ("b", "load"), id="the-oldest-follows"),
        pytest.param([("a", 3, 0), ("b", 3, 0), ("c", 2, 0)], None, id="of-three-one-stays-warm"),
        pytest.param(
            [("a", 2, 1), ("b", 2, 0), ("c", 1, 0)], ("c", "load"), id="of-three-the-idle-one-first"
        ),
    ],
)
def test_of_two_or_more_nobody_is_disturbed(
    engines: list[tuple[str, int | None, int]], expected: tuple[str, str] | None
) -> None:
    known = [engine(name, version, answers=answers) for name, version, answers in engines]
    assert said(next_step(known, 3, 2, AT)) == expected


def test_the_other_engine_is_waited_for_but_not_for_ever() -> None:
    left = engine("a", 1, answers=1)
    assert next_step([left, engine("b", None, gone_s=ABSENT_S / 2)], 2, 1, AT) is None
    assert said(next_step([left, engine("b", None, gone_s=ABSENT_S * 2)], 2, 1, AT)) == ("a", "hold")


def test_an_engine_that_failed_has_a_pause() -> None:
    failed = engine("a", None)
    failed.retry_at = AT + 1
    assert next_step([failed], 2, 1, AT) is None
    assert said(next_step([failed], 2, 1, AT + 2)) == ("a", "hold")


def test_an_engine_that_is_being_swapped_is_left_alone() -> None:
    busy = engine("a", None)
    busy.busy = True
    assert next_step([busy, engine("b", 1)], 2, 1, AT) is None


CANARY = Wish(active=2, canary=3, share=0.5, previous=1)


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        pytest.param([("a", 2, 1), ("b", 1, 0)], {"b": ("load", 3)}, id="the-warm-one-takes-it"),
        pytest.param([("a", 2, 1), ("b", 2, 0)], {"b": ("load", 3)}, id="of-two-active-the-idle-one"),
        pytest.param([("a", 2, 1), ("b", 2, 2)], {"a": ("drain", 3)}, id="the-one-with-less-to-say-drains"),
        pytest.param([("a", 2, 1), ("b", None, 0)], {"b": ("load", 3)}, id="an-empty-one-takes-it"),
        pytest.param([("a", 2, 0), ("b", 3, 0)], {}, id="done-and-kept"),
        pytest.param([("a", 2, 9), ("b", 3, 0), ("c", 1, 0)], {"c": ("load", 2)}, id="the-third-is-active"),
        pytest.param([("a", None, 0), ("b", 3, 0)], {"a": ("load", 2)}, id="the-active-one-comes-first"),
    ],
)
def test_with_a_canary_each_version_has_an_engine(
    engines: list[tuple[str, int | None, int]], expected: dict[str, tuple[str, int]]
) -> None:
    assert plan([engine(name, version, answers=n) for name, version, n in engines], CANARY) == expected


def test_the_engine_of_the_active_version_is_never_taken_for_a_canary() -> None:
    """The canary's engine has died: what is left goes on."""
    left = engine("a", 2)
    assert plan([left, engine("b", None, gone_s=1)], CANARY) == {}
    assert plan([left, engine("b", None, gone_s=ABSENT_S * 2)], CANARY) == {}
    failing = engine("b", None)
    failing.retry_at = AT + 1
    assert plan([left, failing], CANARY) == {}


def test_the_canarys_engine_waits_for_the_active_one_to_come_back() -> None:
    left = engine("b", 3)
    assert next_steps([engine("a", None, gone_s=1), left], CANARY, 3, AT) == []
    late = next_steps([engine("a", None, gone_s=ABSENT_S * 2), left], CANARY, 3, AT)
    assert [(step.engine.name, step.how, step.version) for step in late] == [("b", "hold", 2)]


@pytest.mark.parametrize(("share", "engines"), [(0.05, 1), (0.5, 2), (1.0, 4)])
def test_a_canary_gets_its_part_of_a_fleet(share: float, engines: int) -> None:
    fleet = [engine(f"e{number}", 2) for number in range(8)]
    wish = CANARY._replace(share=share, max_unavailable=8)
    assert list(plan(fleet, wish).values()) == [("load", 3)] * engines


def test_a_smaller_share_gives_engines_back() -> None:
    fleet = [engine(f"e{number}", 3 if number < 4 else 2) for number in range(8)]
    wish = CANARY._replace(share=0.25, max_unavailable=8)
    assert list(plan(fleet, wish).values()) == [("load", 2)] * 3


@pytest.mark.parametrize("limit", [1, 3])
def test_a_fleet_follows_a_few_at_a_time(limit: int) -> None:
    fleet = [engine("e0", 2), *(engine(f"e{number}", 1, answers=number) for number in range(1, 8))]
    wish = Wish(active=2, previous=1, max_unavailable=limit)
    assert plan(fleet, wish) == {f"e{number}": ("drain", 2) for number in range(1, limit + 1)}
    fleet[1].busy, fleet[1].target, fleet[1].version = True, 2, None
    assert len(plan(fleet, wish)) == limit - 1, "one is being loaded"


def test_an_engine_that_began_to_drain_goes_on_draining() -> None:
    fleet = [engine("e0", 2), engine("e1", 1, answers=5), engine("e2", 1, answers=1), engine("e3", 1)]
    fleet[1].draining = True
    assert plan(fleet, Wish(active=2, previous=1)) == {"e1": ("drain", 2)}


def test_the_version_to_roll_back_to_is_kept_rather_than_a_failed_canary() -> None:
    fleet = [engine("a", 2), engine("b", 1), engine("c", 3)]
    assert plan(fleet, Wish(active=2, previous=1)) == {"c": ("load", 2)}


def test_engines_that_an_admin_drains_get_no_version() -> None:
    fleet = [engine("a", 2), engine("b", 1), engine("c", 1)]
    fleet[1].leaving = True
    assert plan(fleet, Wish(active=3)) == {"c": ("load", 3)}


def test_engines_that_join_are_loaded_at_once() -> None:
    fleet = [engine("a", 2), engine("b", None), engine("c", None), engine("d", None)]
    assert plan(fleet, Wish(active=2)) == dict.fromkeys("bcd", ("load", 2))
