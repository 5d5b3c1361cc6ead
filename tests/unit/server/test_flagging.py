"""Flagged votes over HTTP: kept and marked, out of training until a reviewer restores them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.settings import ServerSettings
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, Person, serving

pytestmark = pytest.mark.anyio


async def duel(heed: Any, person: Any, text: str, a: str = "yes", b: str = "no") -> str:
    heed.pool.say(Script((a,)), Script((b,)))
    return str((await person.duel(text))["duel"]["id"])


async def mine(person: Any) -> list[Any]:
    """Newest first."""
    return list((await person.get("/api/v1/votes/mine"))["items"])


async def test_the_same_texts_again_count_once(heed: Any, ann: Any, admin: Any) -> None:
    for number in range(3):
        cast = (await ann.vote(await duel(heed, ann, "Is it?"), "a", f"key-{number}")).json()
        assert (cast["vote"]["status"], cast["pending"]) == ("active", 1)
    other = (await ann.vote(await duel(heed, ann, "Is it not?"), "a", "key-3")).json()
    assert other["pending"] == 2
    votes = await mine(ann)
    assert [one["flags"] for one in votes] == [[], [], ["duplicate"], ["duplicate"]]
    assert [one["status"] for one in votes] == ["active", "active", "excluded", "excluded"]
    assert votes[2]["exclusion"]["reason"] == "voted on again"
    found = await admin.get("/api/v1/votes?q=flag:duplicate")
    assert {row["id"] for row in found["items"]} == {votes[2]["id"], votes[3]["id"]}
    detail = await admin.get(f"/api/v1/votes/{votes[3]['id']}")
    assert [one["what"] for one in detail["changes"]] == ["cast", "flag"]
    # A reviewer lets it count again: it keeps its mark, and the next vote does not take it out once more.
    await admin.call("POST", "/api/v1/restorations", {"ids": [votes[3]["id"]]})
    await ann.vote(await duel(heed, ann, "Is it?"), "b", "key-4")
    restored = (await mine(ann))[-1]
    assert (restored["status"], restored["flags"]) == ("active", ["duplicate"])


async def test_who_votes_faster_than_anybody_reads_is_told_so(heed: Any, ann: Any) -> None:
    name = await duel(heed, ann, "Tell me.", "long " * 100, "text " * 100)
    body = {"kind": "duel", "duel_id": name, "choice": "a", "shown_ms": 400}
    cast = (await ann.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "k"})).json()
    assert (cast["vote"]["flags"], cast["vote"]["status"]) == (["too_quick"], "excluded")
    assert cast["vote"]["exclusion"]["reason"] == "quicker than anybody reads"
    assert cast["pending"] == 0


@pytest.fixture
async def lenient(settings: ServerSettings) -> AsyncIterator[Heed]:
    """A server whose rules only mark what is too quick."""
    settings.config.write_text('[votes]\nleave_out = ["duplicate"]\n')
    async with serving(settings, ScriptedPool(1)) as running:
        yield running


async def test_a_flag_that_is_not_left_out_only_marks(lenient: Any) -> None:
    ann: Person = await lenient.person("ann")
    name = await duel(lenient, ann, "Tell me.", "long " * 100, "text " * 100)
    body = {"kind": "duel", "duel_id": name, "choice": "a", "shown_ms": 400}
    cast = (await ann.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "k"})).json()
    assert (cast["vote"]["flags"], cast["vote"]["status"], cast["pending"]) == (["too_quick"], "active", 1)
