"""New accounts on trial, over HTTP: their votes wait until they got known verdicts right, or are admitted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.settings import ServerSettings
from store.dataset.gather import Position, gather, position_now
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, Person, serving
from tests.unit.server.test_flagging import duel, mine
from tests.unit.server.test_queue import Dice, judge, next_task, ready, texts, upload

pytestmark = pytest.mark.anyio
WANTED = 7


@pytest.fixture
async def heed(settings: ServerSettings) -> AsyncIterator[Heed]:
    """A server on which new accounts are on trial."""
    settings.config.write_text(f"[votes]\ntrial_votes = {WANTED}\n")
    async with serving(settings, ScriptedPool(1)) as running:
        yield running


async def learned(heed: Any, at: Position) -> tuple[int, dict[str, int]]:
    """Votes that a training at this position would learn from, and why it would not learn from others."""
    parts = heed.parts
    found = await gather(
        *(parts.votes, parts.conversations, parts.queue, parts.opinions, parts.settings.data),
        at=at,
        rules=parts.config.votes,
        max_pairs=100,
    )
    return len(found.votes), dict(found.skipped)


async def answer_gold(heed: Any, person: Person, *, right: bool) -> None:
    """The next known verdict, of which the item's `one to ...` is the better answer."""
    heed.parts.tasks._chance = Dice(0.3)  # above what others get
    task = await next_task(person)
    first, _ = await texts(person, task)
    await judge(person, task, "a" if first.startswith("one") == right else "b")


async def test_known_verdicts_let_the_votes_before_them_count(heed: Any, ann: Any, admin: Any) -> None:
    await upload(admin, *(ready(f"{number}?", gold="a") for number in range(WANTED)))
    cast = (await ann.vote(await duel(heed, ann, "Is it?"), "a", "key-1")).json()
    assert (cast["vote"]["status"], cast["vote"]["flags"], cast["pending"]) == ("excluded", ["trial"], 0)
    assert cast["vote"]["exclusion"]["reason"] == "the account is on trial"
    for _ in range(WANTED - 1):
        await answer_gold(heed, ann, right=True)
    assert [vote["status"] for vote in await mine(ann)][-1] == "excluded"
    before = await position_now(heed.parts.votes, heed.parts.opinions, heed.parts.settings.data)
    await answer_gold(heed, ann, right=True)

    assert ((vote := (await mine(ann))[-1])["status"], vote["flags"]) == ("active", ["trial"])
    cast = (await ann.vote(await duel(heed, ann, "Is it not?"), "b", "key-2")).json()
    assert (cast["vote"]["status"], cast["vote"]["flags"], cast["pending"]) == ("active", [], 2)
    event = (await heed.parts.audit.newest())[0]
    assert (event.actor, event.action, event.object) == ("heed", "account_admitted", ann.account_id)
    # A training that was cut before that still sees what was then.
    checks = {"measures the annotator": WANTED - 1}
    assert await learned(heed, before) == (0, {"account on trial": 1} | checks)
    now = await position_now(heed.parts.votes, heed.parts.opinions, heed.parts.settings.data)
    assert await learned(heed, now) == (2, {"measures the annotator": WANTED})


async def test_who_votes_like_a_coin_is_not_admitted_by_patience(heed: Any, ann: Any, admin: Any) -> None:
    await upload(admin, *(ready(f"{number}?", gold="a") for number in range(2 * WANTED)))
    await ann.vote(await duel(heed, ann, "Is it?"), "a", "key-1")
    for number in range(2 * WANTED):
        await answer_gold(heed, ann, right=number % 2 == 0)
    assert [vote["status"] for vote in await mine(ann)][-1] == "excluded"


async def test_an_admin_admits_and_puts_on_trial_again(heed: Any, admin: Any) -> None:
    user = await heed.person("bob", "user")
    quick = await duel(heed, user, "Tell me.", "long " * 100, "text " * 100)
    body = {"kind": "duel", "duel_id": quick, "choice": "a", "shown_ms": 400}
    await user.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "quick"})
    for number in range(3):
        await user.vote(await duel(heed, user, f"Is it {number}?"), "a", f"key-{number}")
    spam = (await mine(user))[1]["id"]
    await admin.call("POST", "/api/v1/restorations", {"ids": [spam]})
    await admin.call("POST", "/api/v1/exclusions", {"ids": [spam], "reason": "spam"})
    path = f"/api/v1/accounts/{user.account_id}"
    people = {one["name"]: one["on_trial"] for one in (await admin.get("/api/v1/accounts"))["items"]}
    assert people == {"bob": True, "admin": False}

    changed = await admin.call("PATCH", path, {"admitted": True})

    assert changed.json()["on_trial"] is False
    votes = await mine(user)
    assert [vote["status"] for vote in votes] == ["active", "excluded", "active", "excluded"]
    reasons = [vote["exclusion"]["reason"] for vote in votes if vote["exclusion"]]
    assert reasons == ["spam", "quicker than anybody reads"]
    cast = (await user.vote(await duel(heed, user, "And this?"), "a", "key-9")).json()
    assert (cast["vote"]["status"], cast["pending"]) == ("active", 3)
    again = await admin.call("PATCH", path, {"admitted": False})
    assert again.json()["on_trial"] is True
    cast = (await user.vote(await duel(heed, user, "And that?"), "a", "key-10")).json()
    assert (cast["vote"]["status"], cast["pending"]) == ("excluded", 3)
    acts = [event.action for event in await heed.parts.audit.newest()]
    assert acts[:2] == ["account_on_trial", "account_admitted"]


async def test_who_watches_over_the_site_is_never_on_trial(heed: Any) -> None:
    reviewer = await heed.person("rev", "reviewer")
    cast = (await reviewer.vote(await duel(heed, reviewer, "Is it?"), "a", "key-1")).json()
    assert (cast["vote"]["status"], cast["vote"]["flags"]) == ("active", [])


async def test_a_later_flag_keeps_a_vote_out_that_its_trial_kept_out(heed: Any, ann: Any, admin: Any) -> None:
    for number in range(2):
        heed.pool.say(Script(("yes",)), Script(("no",)))
        await ann.vote((await ann.duel("Is it?"))["duel"]["id"], "a", f"key-{number}")
    assert [vote["flags"] for vote in await mine(ann)] == [["trial"], ["duplicate", "trial"]]
    await admin.call("PATCH", f"/api/v1/accounts/{ann.account_id}", {"admitted": True})
    newest, oldest = await mine(ann)
    assert (newest["status"], oldest["status"]) == ("active", "excluded")
    assert oldest["exclusion"]["reason"] == "voted on again"
    await ann.vote(await duel(heed, ann, "Is it?"), "a", "key-2")
    assert [vote["status"] for vote in await mine(ann)] == ["active", "excluded", "excluded"]
