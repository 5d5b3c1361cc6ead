"""What people changed of the start rules: over the file's, one by one, each in the audit log."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from store import keys
from store.audit import Audit
from store.connection import Redis
from store.start_rules import StartRules, StartRulesBook

pytestmark = pytest.mark.anyio

FILE = StartRules(min_votes=50, calendar="0 2 * * *", time_zone="Europe/Berlin")
NIGHT = "22:00-06:00"


async def test_a_change_holds_over_the_file_and_goes_when_it_is_as_in_the_file(client: Redis) -> None:
    book = StartRulesBook(client)
    assert (await book.changes()).over(FILE) == FILE
    await book.change(FILE, {"min_votes": 20, "calendar": None}, "acc_ann", "req_1")
    await book.change(FILE, {"quiet_hours": [NIGHT], "min_votes": 20}, "acc_bob")
    changes = await book.changes()
    held = changes.over(FILE)
    assert (held.min_votes, held.calendar, held.quiet_hours) == (20, None, (NIGHT,))
    assert {name: one.actor for name, one in changes.rules.items()} == {
        "min_votes": "acc_ann", "calendar": "acc_ann", "quiet_hours": "acc_bob",
    }  # fmt: skip
    newer = FILE.model_copy(update={"drift": 0.3})
    assert changes.over(newer).drift == 0.3, "what nobody changed follows the file"
    await book.change(FILE, {"min_votes": 50}, "acc_bob")
    assert set((await book.changes()).rules) == {"calendar", "quiet_hours"}
    changes = await book.as_in_file(FILE, "acc_ann")
    assert (changes.rules, isinstance(changes.at, datetime)) == ({}, True)
    said = [(one.actor, one.before, one.after, one.request_id) for one in await Audit(client).newest()]
    own, back = {"calendar": None, "quiet_hours": [NIGHT]}, {"calendar": "0 2 * * *", "quiet_hours": []}
    assert said == [
        ("acc_ann", own, back, None),
        ("acc_bob", {"min_votes": 20}, {"min_votes": 50}, None),
        ("acc_bob", {"quiet_hours": []}, {"quiet_hours": [NIGHT]}, None),
        ("acc_ann", {"min_votes": 50, "calendar": "0 2 * * *"}, {"min_votes": 20, "calendar": None}, "req_1"),
    ]  # fmt: skip
    assert (await Audit(client).verify()).broken_at is None


async def test_what_changes_nothing_or_cannot_be_leaves_no_trace(client: Redis) -> None:
    book = StartRulesBook(client)
    await book.change(FILE, {"min_votes": 50, "time_zone": "Europe/Berlin"}, "acc_ann")
    wrong: dict[str, Any] = {"min_votes": 0, "calendar": "0 0 31 2 *", "time_zone": "Europe", "drift": 1}
    for name, value in wrong.items():
        with pytest.raises(ValidationError) as refused:
            await book.change(FILE, {"every_hours": 3, name: value}, "acc_ann")
        assert refused.value.errors()[0]["loc"] == (name,)
    assert not await client.exists(keys.START_RULES, keys.AUDIT)


async def test_changes_at_the_same_time_are_all_kept(client: Redis) -> None:
    book = StartRulesBook(client)
    wanted: list[dict[str, Any]] = [{"min_votes": 7}, {"every_hours": 3}, {"drift": 0}, {"calendar": None}]
    await asyncio.gather(*(book.change(FILE, one, "acc_ann") for one in wanted))
    assert set((await book.changes()).rules) == {"min_votes", "every_hours", "drift", "calendar"}
    assert len(await Audit(client).newest()) == 4
