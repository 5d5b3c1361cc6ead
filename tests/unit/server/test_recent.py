"""The last quarter of an hour: quantiles, failures, minutes; what is older is gone."""

from __future__ import annotations

from typing import Any

import pytest

from server.recent import Recent, quantile
from tests.fakes import Script

pytestmark = pytest.mark.anyio


def test_a_quantile_is_a_value_that_was_measured() -> None:
    twenty = [float(number) for number in range(1, 21)]
    assert (quantile(twenty, 0.5), quantile(twenty, 0.95), quantile(twenty, 1.0)) == (10, 19, 20)
    assert (quantile([3.0], 0.5), quantile([], 0.5)) == (3.0, None)


def test_what_is_older_than_the_window_is_gone() -> None:
    now = 1000.0
    recent = Recent(lambda: now)
    recent.first_word(9.0)
    recent.ended(failed=True)
    now += 600
    recent.first_word(1.0)
    recent.ended(failed=False)
    seen = recent.look(waiting=3)
    assert (seen.first_words, seen.first_word_p50_s, seen.first_word_p95_s) == (2, 1.0, 9.0)
    assert (seen.ended, seen.failed, seen.waiting) == (2, 1, 3)
    assert [place for place, value in enumerate(seen.by_minute_p95_s) if value is not None] == [5, 14]
    now += 301
    seen = recent.look(waiting=0)
    assert (seen.first_words, seen.first_word_p95_s, seen.ended, seen.failed) == (1, 1.0, 1, 0)
    now += 600
    assert recent.look(waiting=0).first_word_p50_s is None


async def test_the_system_page_has_the_answers_of_the_chat(heed: Any, ann: Any, admin: Any) -> None:
    broken = Script(pieces=("N",), fails=True)  # twice: the chat tries once more
    heed.pool.say(Script(pieces=("Yes.",)), broken, broken)
    for question in ("One?", "Two?"):
        turn = await ann.say(question)
        await ann.follow(turn["stream"])
    answers = (await admin.get("/api/v1/system"))["answers"]
    assert (answers["first_words"], answers["ended"], answers["failed"], answers["waiting"]) == (2, 2, 1, 0)
    assert 0 < answers["first_word_p50_s"] <= answers["first_word_p95_s"] < 60
