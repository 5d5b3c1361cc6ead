"""The explorer and the statistics over HTTP, on votes that people cast."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.settings import ServerSettings
from store.records import EngineStatus, PolicyVersion, now
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, Person, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def heed(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heed]:
    """Versions 2 and 1 answer each duel together, as under a canary."""
    pool = ScriptedPool(2, 1)
    monkeypatch.setattr("server.turns.versions_of_turn", lambda *_, is_duel: (2, 1) if is_duel else (2,))
    pool.clients[0].scripts.extend(Script(pieces=("The long", " answer")) for _ in range(20))
    pool.clients[1].scripts.extend(Script(pieces=("Short",)) for _ in range(20))
    async with serving(settings, pool) as running:
        yield running


async def voted(person: Person, text: str, wanted: str, key: str, **more: Any) -> Any:
    """Vote for a version (`v2`, `v1`) or an outcome; the vote as it was answered."""
    turn = await person.duel(text)
    duel = turn["duel"]
    choice = wanted
    if wanted in ("v1", "v2"):
        tree = await person.get(f"/api/v1/conversations/{turn['conversation']}")
        long = next(one["id"] for one in tree["answers"] if one["text"] == "The long answer")
        choice = "a" if (duel["answer_a"] == long) == (wanted == "v2") else "b"
    body = {"kind": "duel", "duel_id": duel["id"], "choice": choice, **more}
    response = await person.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": key})
    assert response.status_code == 201, response.text
    return response.json()["vote"]


async def version(heed: Heed, number: int, **more: Any) -> None:
    await heed.parts.policies.register(
        PolicyVersion(number=number, folder=f"v{number}", sha256="ab" * 32, created_at=now(), **more)
    )


async def find(admin: Person, q: str = "") -> Any:
    response = await admin.http.get("/api/v1/votes", params={"q": q})
    assert response.status_code == 200, response.text
    return response.json()


async def test_votes_are_found_with_facets_and_shown_whole(heed: Any, ann: Any, admin: Any) -> None:
    bob = await heed.person("bob")
    first = await voted(ann, "Which river is the longest?", "v2", "1", comment="the other is too short")
    await voted(bob, "Name a mountain", "tie", "2")

    found = await find(admin)
    assert (found["total"], found["of"]) == (2, 2)
    assert [one["prompt"] for one in found["items"]] == ["Name a mountain", "Which river is the longest?"]
    facets = {
        name: {one["value"]: one["votes"] for one in values} for name, values in found["facets"].items()
    }
    assert facets["annotator"] == {"ann": 1, "bob": 1}
    assert facets["pair"] == {"v2-v1": 2}
    assert facets["used"] == {"never": 2}
    assert sum(bar["votes"] for bar in found["histogram"]) == 2

    assert (await find(admin, "annotator:ann river"))["total"] == 1
    assert (await find(admin, '"too short"'))["total"] == 1
    assert (await find(admin, "annotator:ann outcome:tie"))["total"] == 0

    detail = await admin.get(f"/api/v1/votes/{first['id']}")
    assert [turn["content"] for turn in detail["thread"]] == ["Which river is the longest?"]
    (preferred,) = [one for one in detail["answers"] if one["preferred"]]
    assert (preferred["version"], preferred["text"]) == (2, "The long answer")
    assert [one["position"] for one in detail["answers"]] == [1, 2]
    assert [(one["what"], one["by"]) for one in detail["changes"]] == [("cast", "ann")]


async def test_a_query_that_cannot_be_read_is_explained(heed: Any, admin: Any) -> None:
    response = await admin.http.get("/api/v1/votes", params={"q": "colour:red"})
    problem = response.json()
    assert (response.status_code, problem["type"], problem["field"]) == (422, "urn:heed:bad_query", "q")
    assert "outcome" in problem["detail"]


async def test_pages_are_walked_by_cursor(heed: Any, ann: Any, admin: Any) -> None:
    for n in range(3):
        await voted(ann, f"Question {n}", "tie", str(n))
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = await admin.get(f"/api/v1/votes?limit=1{cursor}")
        seen += [one["prompt"] for one in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert seen == ["Question 2", "Question 1", "Question 0"]
    assert page["next"] is None
    assert page["facets"] is None


async def test_excluded_votes_leave_the_statistics_and_come_back(heed: Any, ann: Any, admin: Any) -> None:
    votes = [await voted(ann, f"Question {n}", "v2", str(n)) for n in range(3)]
    await voted(ann, "Question 3", "v1", "3")

    async def pair() -> Any:
        (found,) = (await admin.get("/api/v1/statistics"))["pairs"]
        return found["wins_a"], found["wins_b"], found["rate"], found["n"], found["annotators"]

    assert await pair() == (3, 1, 0.75, 4, 1)

    body: dict[str, Any] = {"ids": [one["id"] for one in votes[:2]], "reason": "spam", "note": "a bot"}
    preview = (await admin.call("POST", "/api/v1/exclusions", {**body, "dry_run": True})).json()
    ratings = {one["number"]: one for one in preview.pop("ratings")}
    assert preview == {"votes": 2, "annotators": ["ann"], "used_in": [], "left": 0, "done": False}
    # 3 wins of 4 are odds of 3, 1 of 2 are even: 400 log10(3) = 190.8 points, then none.
    assert (ratings[1]["before"], ratings[1]["n_before"], ratings[1]["n_after"]) == (1000, 4, 2)
    assert (ratings[2]["before"], ratings[2]["after"]) == pytest.approx((1190.8, 1000), abs=0.1)
    assert await pair() == (3, 1, 0.75, 4, 1)

    assert (await admin.call("POST", "/api/v1/exclusions", body)).json()["done"] is True
    assert await pair() == (1, 1, 0.5, 2, 1)
    excluded = await find(admin, "status:excluded")
    assert {one["reason"] for one in excluded["items"]} == {"spam: a bot"}
    statistics = await admin.get("/api/v1/statistics")
    assert (statistics["counted"], statistics["left_out"]["excluded"]) == (2, 2)
    assert (await heed.parts.audit.newest())[0].action == "exclude_votes"

    again = (await admin.call("POST", "/api/v1/exclusions", body)).json()
    assert (again["votes"], again["left"]) == (0, 2)

    back = {"q": "status:excluded", "dry_run": True}
    seen = (await admin.call("POST", "/api/v1/restorations", back)).json()["ratings"]
    assert [(one["n_before"], one["n_after"]) for one in seen] == [(2, 4), (2, 4)]
    restored = await admin.call("POST", "/api/v1/restorations", {"q": "status:excluded"})
    assert restored.json()["votes"] == 2
    assert await pair() == (3, 1, 0.75, 4, 1)
    detail = await admin.get(f"/api/v1/votes/{votes[0]['id']}")
    assert [one["what"] for one in detail["changes"]] == ["cast", "exclude", "restore"]


async def test_words_of_answers_are_found_too(heed: Any, ann: Any, admin: Any) -> None:
    heed.pool.clients[0].scripts.appendleft(Script(pieces=("The Nile, at 6,650 km.",)))
    await voted(ann, "Longest river?", "tie", "1")
    await voted(ann, "Highest mountain?", "tie", "2")
    assert [one["prompt"] for one in (await find(admin, "nile"))["items"]] == ["Longest river?"]


async def test_a_reviewer_asks_others_what_they_would_have_said(heed: Any, ann: Any, admin: Any) -> None:
    vote = await voted(ann, "Which river?", "v2", "1")
    path = f"/api/v1/votes/{vote['id']}/queue"
    first, again = [(await admin.call("POST", path)).json() for _ in range(2)]
    assert (first["prompt"], first["has_answers"], again["id"]) == ("Which river?", True, first["id"])
    assert (await ann.call("POST", path)).status_code == 403
    conversation = (await find(admin))["items"][0]["conversation_id"]
    await ann.call("DELETE", f"/api/v1/conversations/{conversation}")
    assert (await admin.call("POST", path)).json()["type"] == "urn:heed:not_votable"


async def test_a_selection_is_by_ids_or_by_query(heed: Any, admin: Any) -> None:
    for body in ({"reason": "spam"}, {"reason": "spam", "ids": ["x"], "q": ""}):
        response = await admin.call("POST", "/api/v1/exclusions", body)
        assert (response.status_code, response.json()["type"]) == (422, "urn:heed:bad_selection")


async def test_an_undone_vote_stays_undone(heed: Any, ann: Any, admin: Any) -> None:
    vote = await voted(ann, "Hi", "v2", "1")
    await ann.call("DELETE", f"/api/v1/votes/{vote['id']}")
    found = (await admin.call("POST", "/api/v1/exclusions", {"ids": [vote["id"]], "reason": "test"})).json()
    assert (found["votes"], found["left"]) == (0, 1)
    statistics = await admin.get("/api/v1/statistics")
    assert (statistics["pairs"], statistics["left_out"]["undone"]) == ([], 1)


async def test_a_review_stands_beside_the_vote(heed: Any, ann: Any, admin: Any) -> None:
    vote = await voted(ann, "Hi", "tie", "1")
    path = f"/api/v1/votes/{vote['id']}"
    assert (await admin.call("POST", f"{path}/reviews", {"choice": "a"})).status_code == 201
    detail = await admin.get(path)
    assert (detail["row"]["outcome"], detail["row"]["review"]) == ("tie", "a")
    assert [(one["by"], one["choice"]) for one in detail["reviews"]] == [("admin", "a")]
    assert (await find(admin, "review:differs"))["total"] == 1
    assert (await admin.call("POST", f"{path}/reviews", {"choice": "up"})).status_code == 422


async def test_thumbs_are_found_and_never_counted_between_versions(heed: Any, ann: Any, admin: Any) -> None:
    turn = await ann.duel()
    await ann.vote(turn["duel"]["id"], "a")
    body = {"kind": "thumb", "answer_id": turn["duel"]["answer_a"], "choice": "up"}
    await ann.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "thumb"})
    assert (await find(admin, "kind:thumb"))["total"] == 1
    statistics = await admin.get("/api/v1/statistics")
    assert statistics["counted"] == 1
    assert sum(one["n"] for one in statistics["versions"]) == 2


async def test_a_deleted_conversation_takes_its_texts_along(heed: Any, ann: Any, admin: Any) -> None:
    vote = await voted(ann, "My secret", "v2", "1")
    conversation = (await find(admin))["items"][0]["conversation_id"]
    await ann.call("DELETE", f"/api/v1/conversations/{conversation}")
    detail = await admin.get(f"/api/v1/votes/{vote['id']}")
    assert (detail["thread"], detail["answers"]) == ([], [])


async def test_what_a_run_learned_from_is_named(heed: Any, ann: Any, admin: Any, volume: Any) -> None:
    vote = await voted(ann, "Hi", "v2", "1")
    await heed.parts.lineage.record("run_7", [vote["id"]])
    folder = volume / "reward_models" / "v0004"
    folder.mkdir(parents=True)
    (folder / "margins.json").write_text(json.dumps({vote["id"]: -1.5}))
    assert (await find(admin, "rm:unknown"))["total"] == 1
    await version(heed, 3, run_id="run_7", reward_model=4)
    assert (await find(admin, "used:v3"))["total"] == 1
    assert (await find(admin, "rm:disagree margin:>1"))["total"] == 1
    accuracy = (await admin.get("/api/v1/statistics"))["reward_model"]["accuracy"]
    assert (accuracy["share"], accuracy["n"]) == (0.0, 1)
    preview = await admin.call(
        "POST", "/api/v1/exclusions", {"q": "used:v3", "reason": "test", "dry_run": True}
    )
    assert preview.json()["used_in"] == [3]


async def test_the_canary_has_its_own_test(heed: Any, ann: Any, admin: Any) -> None:
    assert (await admin.get("/api/v1/statistics"))["canary"] is None
    await version(heed, 1)
    await heed.parts.policies.activate(1, "test", "first", expected=None)
    await version(heed, 2)
    await voted(ann, "Before it began", "v1", "before")
    ready = [EngineStatus(name=name, address="unix:///e", state="ready", seen_at=now()) for name in "ab"]
    await heed.parts.policies.report_engines("another", ready)
    await heed.parts.policies.start_canary(2, 0.5, "test", "better?")
    for n in range(2):
        await voted(ann, f"Question {n}", "v2", str(n))
    canary = (await admin.get("/api/v1/statistics"))["canary"]
    assert (canary["number"], canary["against"], canary["n"], canary["state"]) == (2, 1, 2, "undecided")
    assert canary["wins"] == 2
    assert canary["needs"] > 2


async def test_the_board_says_what_style_was_worth(heed: Any, ann: Any, admin: Any) -> None:
    for n, wanted in enumerate(("v2", "v2", "v1", "tie")):
        await voted(ann, f"Question {n}", wanted, str(n))
    plain, styled = [await admin.get(f"/api/v1/leaderboard?style={style}") for style in ("false", "true")]
    assert [one["number"] for one in plain["versions"]] == [2, 1]
    assert plain["style"] == []
    assert [one["element"] for one in styled["style"]] == ["length", "headers", "lists", "bold"]


@pytest.mark.parametrize("path", ["votes", "votes/x", "statistics", "leaderboard", "exports", "imports"])
async def test_only_admins_see_other_peoples_votes(ann: Any, path: str) -> None:
    assert (await ann.call("GET", f"/api/v1/{path}")).status_code == 403
