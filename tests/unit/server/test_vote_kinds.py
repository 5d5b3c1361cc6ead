"""Votes of every kind over HTTP: strength, rankings, ideal answers, skips, early votes, undo, leaks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from server import votes as server_votes
from tests.fakes import Script

pytestmark = pytest.mark.anyio


async def cast(person: Any, key: str = "k", **body: Any) -> Any:
    return await person.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": key})


async def on_duel(person: Any, choice: str = "a", key: str = "k", **more: Any) -> tuple[Any, Any]:
    """A finished duel and the vote on it."""
    turn = await person.duel()
    body = {"kind": "duel", "duel_id": turn["duel"]["id"], "choice": choice, **more}
    response = await cast(person, key, **body)
    assert response.status_code == 201, response.text
    return turn, response.json()


async def siblings(person: Any, texts: tuple[str, ...], pool: Any) -> tuple[str, list[str]]:
    """A conversation with that many single answers to one message."""
    pool.say(*(Script(pieces=(text,)) for text in texts))
    turn = await person.say("Hi")
    await person.follow(turn["stream"])
    ids = [turn["answers"][0]["id"]]
    for _ in texts[1:]:
        path = f"/api/v1/conversations/{turn['conversation']}/answers"
        body = {"parent_id": turn["message"]["id"], "mode": "single"}
        again = (await person.call("POST", path, body)).json()
        await person.follow(again["stream"])
        ids.append(again["answers"][0]["id"])
    return turn["conversation"], ids


async def leaf(person: Any, conversation: str) -> str:
    tree = await person.get(f"/api/v1/conversations/{conversation}")
    return str(tree["conversation"]["leaf_id"])


async def test_much_better_is_kept_with_the_vote_and_only_for_a_or_b(ann: Any) -> None:
    _, body = await on_duel(ann, "b", strength=2, tags=["incorrect"], comment=" wrong river ")
    assert (body["vote"]["strength"], body["vote"]["tags"]) == (2, ["incorrect"])
    assert body["vote"]["comment"] == "wrong river"
    assert [one["position"] for one in body["vote"]["answers"]] == [1, 2]
    turn = await ann.duel()
    refused = await cast(ann, "k2", kind="duel", duel_id=turn["duel"]["id"], choice="tie", strength=2)
    assert (refused.status_code, refused.json()["field"]) == (422, "strength")


async def test_a_skip_decides_the_duel_and_is_no_pair(ann: Any) -> None:
    turn, body = await on_duel(ann, "skip")
    assert body["pending"] == 0
    assert await leaf(ann, turn["conversation"]) == turn["duel"]["answer_a"]


async def test_a_ranking_is_one_vote_and_its_best_goes_on(heed: Any, ann: Any) -> None:
    conversation, ids = await siblings(ann, ("one", "two", "three"), heed.pool)
    response = await cast(ann, kind="ranking", ranking=[[ids[2]], [ids[0], ids[1]]])
    body = response.json()
    assert (response.status_code, body["pending"], body["reveal"]) == (201, 1, None)
    ranks = {one["answer_id"]: one["rank"] for one in body["vote"]["answers"]}
    assert ranks == {ids[2]: 1, ids[0]: 2, ids[1]: 2}
    assert await leaf(ann, conversation) == ids[2]
    again = await cast(ann, kind="ranking", ranking=[[ids[2]], [ids[0], ids[1]]])
    assert (again.status_code, again.json()["vote"]["id"]) == (200, body["vote"]["id"])
    other = await cast(ann, kind="ranking", ranking=[[ids[0]], [ids[1], ids[2]]])
    assert other.json()["type"] == "urn:heed:idempotency_conflict"


async def test_a_ranking_of_what_cannot_be_compared_is_refused(heed: Any, ann: Any) -> None:
    _, ids = await siblings(ann, ("one", "two"), heed.pool)
    _, others = await siblings(ann, ("three",), heed.pool)
    undecided = await ann.duel()
    bob = await heed.person("bob")
    cases = [
        (ann, [[ids[0]], [others[0]]], 422, "same message"),
        (ann, [[ids[0]], [ids[0]]], 422, "each once"),
        (ann, [[ids[0]]], 422, "two answers"),
        (ann, [[ids[0]], ["ans_none"]], 404, "no such answer"),
        (bob, [[ids[0]], [ids[1]]], 404, "no such answer"),
        (ann, [[undecided["duel"]["answer_a"]], [undecided["duel"]["answer_b"]]], 409, "not decided"),
    ]
    for number, (who, ranking, status, words) in enumerate(cases):
        response = await cast(who, f"k{number}", kind="ranking", ranking=ranking)
        assert (response.status_code, words in response.text) == (status, True), response.text
    assert await heed.parts.votes.total() == 0


async def test_an_ideal_answer_becomes_a_sibling_of_its_original(heed: Any, ann: Any) -> None:
    conversation, (original,) = await siblings(ann, ("The Rhine.",), heed.pool)
    body = {"kind": "edit", "answer_id": original, "text": "The Nile."}
    first, again = await cast(ann, **body), await cast(ann, **body)
    assert (first.status_code, again.status_code, first.json()["pending"]) == (201, 200, 1)
    tree = await ann.get(f"/api/v1/conversations/{conversation}")
    texts = {one["text"]: one["edited_from"] for one in tree["answers"]}
    assert texts == {"The Rhine.": None, "The Nile.": original}
    assert {one["parent_id"] for one in tree["answers"]} == {tree["messages"][0]["id"]}
    edited = next(one["id"] for one in tree["answers"] if one["edited_from"])
    assert tree["conversation"]["leaf_id"] == edited
    same = await cast(ann, "k2", kind="edit", answer_id=original, text="The Rhine. ")
    assert (same.status_code, same.json()["field"]) == (422, "text")
    conflict = await cast(ann, kind="edit", answer_id=original, text="The Amazon.")
    assert conflict.json()["type"] == "urn:heed:idempotency_conflict"
    thumb = await cast(ann, "k3", kind="thumb", answer_id=edited, choice="up")
    assert (thumb.status_code, "a person wrote" in thumb.text) == (409, True)
    assert len((await ann.get(f"/api/v1/conversations/{conversation}"))["answers"]) == 2


async def test_an_ideal_answer_that_is_taken_back_goes_unless_the_chat_went_on_from_it(
    heed: Any, ann: Any
) -> None:
    conversation, (original,) = await siblings(ann, ("The Rhine.",), heed.pool)
    path = f"/api/v1/conversations/{conversation}"

    async def shown() -> dict[str, bool]:
        return {one["text"]: one["withdrawn"] for one in (await ann.get(path))["answers"]}

    for key, text in (("k1", "The Nile."), ("k2", "The Amazon.")):
        edit = (await cast(ann, key, kind="edit", answer_id=original, text=text)).json()["vote"]
        if key == "k2":
            edited = edit["answers"][-1]["answer_id"]
            said = {"text": "And the deepest?", "parent_id": edited, "mode": "single"}
            assert (await ann.call("POST", f"{path}/messages", said)).status_code == 202
        assert (await ann.call("DELETE", f"/api/v1/votes/{edit['id']}")).status_code == 200
        if key == "k1":
            assert await shown() == {"The Rhine.": False}
            assert await leaf(ann, conversation) == original
    assert (await shown())["The Amazon."] is True
    assert await leaf(ann, conversation) != original
    assert (await ann.get("/api/v1/search?q=nile"))["items"] == []


async def test_undo_opens_the_duel_again_and_counts_down(ann: Any) -> None:
    turn, body = await on_duel(ann, "b")
    vote = body["vote"]["id"]
    assert (body["pending"], body["vote"]["changeable"]) == (1, True)
    undone = await ann.call("DELETE", f"/api/v1/votes/{vote}")
    assert (undone.status_code, undone.json()["pending"]) == (200, 0)
    assert (undone.json()["vote"]["status"], undone.json()["reveal"]) == ("undone", None)
    again = await ann.call("DELETE", f"/api/v1/votes/{vote}")
    assert again.json() == undone.json()
    assert await leaf(ann, turn["conversation"]) == turn["message"]["id"]
    duel = await ann.get(f"/api/v1/duels/{turn['duel']['id']}")
    assert (duel["vote"], duel["ready"], duel["version_a"]) == (None, True, None)
    second = (await ann.vote(turn["duel"]["id"], "a", key="second")).json()
    assert (second["pending"], second["vote"]["blind"], body["vote"]["blind"]) == (1, False, True)
    kinds = [(one["choice"], one["status"]) for one in (await ann.get("/api/v1/votes/mine"))["items"]]
    assert kinds == [("a", "active"), ("b", "undone")]


async def test_undo_ends_when_a_training_began_and_ten_minutes_are_over(
    heed: Any, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, old = await on_duel(ann, key="old")
    await heed.parts.votes.advance("frozen_through", (await heed.parts.votes.read())[-1][0])
    _, new = await on_duel(ann, key="new")
    can = {one["id"]: one["changeable"] for one in (await ann.get("/api/v1/votes/mine"))["items"]}
    assert can == {old["vote"]["id"]: True, new["vote"]["id"]: True}
    monkeypatch.setattr(server_votes, "CHANGEABLE_FOR", timedelta(0))
    refused = await ann.call("DELETE", f"/api/v1/votes/{old['vote']['id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:heed:too_late")
    refused = await ann.call("PATCH", f"/api/v1/votes/{old['vote']['id']}", {"choice": "b"})
    assert refused.json()["type"] == "urn:heed:too_late"
    commented = await ann.call("PATCH", f"/api/v1/votes/{old['vote']['id']}", {"comment": "still"})
    assert commented.json()["vote"]["comment"] == "still"
    undone = await ann.call("DELETE", f"/api/v1/votes/{new['vote']['id']}")
    assert undone.json()["vote"]["status"] == "undone"


async def test_reasons_come_later_and_a_changed_choice_is_not_blind(ann: Any) -> None:
    turn, body = await on_duel(ann, "a", strength=2)
    path = f"/api/v1/votes/{body['vote']['id']}"
    reasoned = (await ann.call("PATCH", path, {"tags": ["superficial"], "comment": "short"})).json()
    assert (reasoned["vote"]["tags"], reasoned["vote"]["blind"]) == (["superficial"], True)
    changed = (await ann.call("PATCH", path, {"choice": "b", "comment": None})).json()
    said = {name: changed["vote"][name] for name in ("choice", "strength", "comment", "blind", "tags")}
    assert said == {"choice": "b", "strength": 1, "comment": None, "blind": False, "tags": ["superficial"]}
    assert await leaf(ann, turn["conversation"]) == turn["duel"]["answer_b"]
    tied = (await ann.call("PATCH", path, {"choice": "tie"})).json()
    assert (tied["pending"], changed["pending"]) == (0, 1)
    refused = await ann.call("PATCH", path, {"strength": 2})
    assert refused.status_code == 422


async def test_somebody_elses_vote_does_not_exist(heed: Any, ann: Any) -> None:
    _, body = await on_duel(ann)
    bob = await heed.person("bob")
    path = f"/api/v1/votes/{body['vote']['id']}"
    assert (await bob.call("DELETE", path)).status_code == 404
    assert (await bob.call("PATCH", path, {"comment": "mine"})).status_code == 404
    assert (await bob.get("/api/v1/votes/mine"))["items"] == []


async def test_an_early_vote_stops_the_loser_and_lets_the_winner_end(heed: Any, ann: Any) -> None:
    gate = asyncio.Event()
    heed.pool.say(Script(gate=gate), Script(gate=gate))
    turn = await ann.say("Hi", mode="duel")
    duel = turn["duel"]
    await ann.follow(turn["stream"], stop_at="answer.delta")
    for choice in ("tie", "skip"):
        refused = await cast(ann, choice, kind="duel", duel_id=duel["id"], choice=choice)
        assert refused.status_code == 409
    response = await cast(ann, kind="duel", duel_id=duel["id"], choice="b")
    assert (response.status_code, response.json()["vote"]["early"]) == (201, True)
    gate.set()
    await ann.follow(turn["stream"])
    tree = await ann.get(f"/api/v1/conversations/{turn['conversation']}")
    states = {one["id"]: one["state"] for one in tree["answers"]}
    assert states == {duel["answer_a"]: "stopped", duel["answer_b"]: "finished"}
    assert tree["conversation"]["leaf_id"] == duel["answer_b"]
    again = await cast(ann, kind="duel", duel_id=duel["id"], choice="b")
    assert (again.status_code, again.json()["vote"]) == (200, response.json()["vote"])
    # Undone, it can be voted on once more, as far as both were written.
    await ann.call("DELETE", f"/api/v1/votes/{response.json()['vote']['id']}")
    assert (await ann.get(f"/api/v1/duels/{duel['id']}"))["ready"]
    second = (await cast(ann, "second", kind="duel", duel_id=duel["id"], choice="a")).json()
    assert (second["vote"]["early"], second["vote"]["blind"]) == (True, False)


async def test_before_the_first_words_no_vote_is_taken(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(wait_s=30), Script(wait_s=30))
    turn = await ann.say("Hi", mode="duel")
    response = await cast(ann, kind="duel", duel_id=turn["duel"]["id"], choice="a")
    assert (response.status_code, "duel.ready" in response.text) == (409, True)
    for answer in turn["answers"]:
        await ann.call("POST", f"/api/v1/answers/{answer['id']}/stop")


async def test_an_answer_that_names_its_model_keeps_the_vote_out_and_says_so(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(pieces=("I am Chat", "GPT.")), Script())
    turn, body = await on_duel(ann, "a")
    vote = body["vote"]
    assert (vote["status"], body["pending"]) == ("excluded", 0)
    assert vote["exclusion"]["reason"] == "an answer named its model: I am ChatGPT"
    assert sorted(one["leak"] or "" for one in vote["answers"]) == ["", "I am ChatGPT"]
    duel = await ann.get(f"/api/v1/duels/{turn['duel']['id']}")
    assert duel["vote"]["leak"] == "I am ChatGPT"
    restored = await heed.parts.votes.restore(vote["id"], "rev")
    assert (restored.makes_pair, restored.leaked) == (True, True)
    assert await heed.parts.voting.pending() == 1


async def test_my_votes_show_what_they_were_about_and_can_be_filtered(heed: Any, ann: Any) -> None:
    turn, duel = await on_duel(ann, "b", key="one")
    await cast(ann, "two", kind="thumb", answer_id=turn["duel"]["answer_a"], choice="up", tags=["useful"])
    gone, _ = await on_duel(ann, "a", key="three")
    await ann.call("DELETE", f"/api/v1/conversations/{gone['conversation']}")
    page = await ann.get("/api/v1/votes/mine")
    assert [one["kind"] for one in page["items"]] == ["duel", "thumb", "duel"]
    assert [one["prompt"] for one in page["items"]] == [None, "Hi", "Hi"]
    assert page["items"][2]["texts"] == ["Hello there", "Hello there"]
    assert (page["next"], page["this_week"]) == (None, 3)
    thumbs = await ann.get("/api/v1/votes/mine?kind=thumb")
    assert [one["tags"] for one in thumbs["items"]] == [["useful"]]
    first = await ann.get("/api/v1/votes/mine?limit=2")
    rest = await ann.get(f"/api/v1/votes/mine?limit=2&before={first['next']}")
    assert [one["id"] for one in rest["items"]] == [duel["vote"]["id"]]


async def test_a_vote_names_the_guidelines_that_held(heed: Any, ann: Any, admin: Any) -> None:
    assert (await ann.get("/api/v1/guidelines"))["newest"] is None
    _, before = await on_duel(ann, key="before")
    refused = await ann.call("PUT", "/api/v1/guidelines", {"text": "Mine", "after": 0})
    assert refused.status_code == 403
    await admin.call("PUT", "/api/v1/guidelines", {"text": "Prefer what is true.", "after": 0})
    _, under = await on_duel(ann, key="under")
    assert (before["vote"]["guideline_version"], under["vote"]["guideline_version"]) == (None, 1)
    unread = await ann.get("/api/v1/guidelines")
    assert (unread["newest"]["text"], unread["read_version"]) == ("Prefer what is true.", 0)
    assert (await ann.call("POST", "/api/v1/guidelines/read", {"version": 1})).status_code == 204
    late = await admin.call("PUT", "/api/v1/guidelines", {"text": "Late", "after": 0})
    assert (late.status_code, late.json()["field"]) == (409, "after")
    await admin.call("PUT", "/api/v1/guidelines", {"text": "Prefer what is true and short.", "after": 1})
    changed = await ann.get("/api/v1/guidelines")
    assert (changed["read_version"], changed["read"]["text"]) == (1, "Prefer what is true.")
    assert (await ann.get("/api/v1/guidelines/1"))["version"] == 1
    assert (await ann.call("GET", "/api/v1/guidelines/9")).status_code == 404
