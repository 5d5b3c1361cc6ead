"""The restore drill over HTTP: a site is archived, Redis is emptied, and every page says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.settings import ServerSettings
from store.api_keys import ApiKeys
from store.archive.keep import Limits, keep
from store.archive.restore import restore
from store.archive.verify import verify
from store.connection import connect
from store.opinions import Opinion, ScoredAnswer
from store.records import now
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, Person, serving

pytestmark = pytest.mark.anyio

PAGES = (
    "/api/v1/votes",
    "/api/v1/votes?q=river status:active",
    "/api/v1/statistics",
    "/api/v1/leaderboard",
    "/api/v1/leaderboard?style=true",
    "/api/v1/audit",
    "/api/v1/audit/verify",
    "/api/v1/queue/items",
    "/api/v1/policies",
    "/api/v1/runs",
)
OWN = ("/api/v1/votes/mine", "/api/v1/conversations", "/api/v1/search?q=river", "/api/v1/guidelines")


async def vote(person: Person, key: str, **body: Any) -> Any:
    response = await person.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": key})
    assert response.status_code == 201, response.text
    return response.json()["vote"]


async def lived(heed: Heed, people: list[Person], admin: Person) -> list[str]:
    """Duels of several people, ideal answers, thumbs, an undone vote, excluded ones, a review."""
    heed.pool.say(*(Script(pieces=(f"answer {n}", " to it")) for n in range(40)))
    votes = []
    for number, person in enumerate(people):
        for choice in ("a", "b", "tie", "both_bad"):
            duel = (await person.duel(f"Which river is {choice}?"))["duel"]
            votes.append(await vote(person, choice, kind="duel", duel_id=duel["id"], choice=choice))
        turn = await person.say(f"A river for {number}?")
        await person.follow(turn["stream"])
        answer = turn["answers"][0]["id"]
        await vote(person, "up", kind="thumb", answer_id=answer, choice="up")
        await vote(person, "edit", kind="edit", answer_id=answer, text="The Rhine.")
        await person.call("DELETE", f"/api/v1/votes/{votes[-1]['id']}")
    chosen = {"ids": [votes[0]["id"], votes[4]["id"]], "reason": "spam"}
    assert (await admin.call("POST", "/api/v1/exclusions", chosen)).status_code == 200
    body = {"ids": [votes[4]["id"]]}
    assert (await admin.call("POST", "/api/v1/restorations", body)).status_code == 200
    await admin.call("POST", f"/api/v1/votes/{votes[1]['id']}/reviews", {"choice": "a", "note": "no"})
    await admin.call("PUT", "/api/v1/guidelines", {"text": "Be right.", "after": 0})
    scored = tuple(ScoredAnswer(answer_id=name, score=1.5) for name in ("one", "two"))
    opinion = Opinion(vote_id=votes[0]["id"], reward_model=1, answers=scored, learned_from=False, at=now())
    await heed.parts.opinions.add([opinion])
    return [one["id"] for one in votes]


async def said(people: list[Person], admin: Person, votes: list[str]) -> dict[str, Any]:
    """Every page's answer; of the trees and the details too."""
    pages = {path: await admin.get(path) for path in PAGES}
    pages |= {path: await admin.get(f"/api/v1/votes/{path}") for path in votes}
    pages["opinion"] = await admin.get(f"/api/v1/votes/{votes[0]}/opinion")
    assert pages["opinion"]["state"] == "scored"
    for person in people:
        for path in OWN:
            pages[f"{person.account_id} {path}"] = await person.get(path)
        for one in (await person.get("/api/v1/conversations"))["items"]:
            path = f"/api/v1/conversations/{one['id']}"
            pages[path] = await person.get(path)
    return pages


async def again(heed: Heed, people: list[Person]) -> list[Person]:
    """The same people with new keys: keys are in no archive."""
    found = []
    for one in people:
        _, secret = await ApiKeys(heed.parts.policies._redis).create(one.account_id, "after")
        found.append(Person(heed.url, secret, one.account_id))
        heed.people.append(found[-1])
    return found


async def test_every_page_says_the_same_after_a_restore(
    settings: ServerSettings, redis_url: str, volume: Path
) -> None:
    async with serving(settings, ScriptedPool(1)) as heed:
        people = [await heed.person(name) for name in ("ann", "bob")]
        admin = await heed.person("admin", "admin")
        votes = await lived(heed, people, admin)
        before = await said(people, admin, votes)
    async with connect(redis_url) as redis:
        for _ in range(2):
            await keep(redis, volume, Limits(segment_bytes=1, hot_votes=1, rest_s=0.0))
    async with serving(settings, ScriptedPool(1)) as heed:
        people, admin = await again(heed, people), (await again(heed, [admin]))[0]
        assert await said(people, admin, votes) == before  # read from the archive
    async with connect(redis_url) as redis:
        await redis.flushall()
        verify(volume / "archive")
        await restore(redis, volume / "archive")
    async with serving(settings, ScriptedPool(1)) as heed:
        people, admin = await again(heed, people), (await again(heed, [admin]))[0]
        assert await said(people, admin, votes) == before  # read from the restored Redis
