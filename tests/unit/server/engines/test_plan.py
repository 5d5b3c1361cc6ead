"""The plan: which engine is swapped next."""

from __future__ import annotations

import pytest

from server.engines.client import EngineClient
from server.engines.plan import ABSENT_S, Step, next_step
from server.engines.pool import Engine, Lease

AT = 1000.0


def engine(name: str, version: int | None, *, answers: int = 0, gone_s: float | None = None) -> Engine:
    one = Engine(EngineClient(name, f"unix:///nowhere/{name}"), version=version, alive=gone_s is None)
    one.state = "ready" if version is not None else "down"
    one.absent_since = AT - (gone_s or 0)
    one.leases = {Lease(one, version or 0, "me") for _ in range(answers)}
    return one


def said(step: Step | None) -> tuple[str, str] | None:
    return None if step is None else (step.engine.name, step.how)


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
