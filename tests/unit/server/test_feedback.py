"""Feedback by response id: it becomes a vote of the account that asked, once, and a pair to learn from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store.dataset.gather import gather, position_now
from store.dataset.pairs import Found
from store.dataset.rules import VoteRules
from tests.fakes import Script

pytestmark = pytest.mark.anyio
TALK: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Name a colour."},
]


async def ask(person: Any, **more: Any) -> str:
    """A response's id."""
    body = {"model": "active", "messages": TALK, **more}
    response = await person.call("POST", "/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def say(person: Any, response_id: str, **feedback: Any) -> Any:
    return await person.call("POST", "/v1/feedback", {"response_id": response_id, **feedback})


async def learned(heed: Any) -> Found:
    """What a training would learn from the votes there are."""
    parts = heed.parts
    at = await position_now(parts.votes, parts.opinions, parts.settings.data)
    where = (parts.votes, parts.conversations, parts.queue, parts.opinions, parts.settings.data)
    return await gather(*where, at=at, rules=VoteRules(), max_pairs=10)


async def test_a_rating_becomes_a_thumb_with_the_whole_prompt(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("Blue",)))
    said = await say(ann, await ask(ann), rating="up", comment="short")
    assert said.status_code == 201
    assert (said.json()["kind"], said.json()["choice"], said.json()["model"]) == ("thumb", "up", "v1")
    found = await learned(heed)
    assert [turn.model_dump() for turn in found.hints[0].prompt] == TALK
    assert found.hints[0].chosen[0].content == "Blue"
    vote = await heed.parts.votes.get(said.json()["id"])
    assert (vote.annotator_id, vote.comment, vote.version_a) == (ann.account_id, "short", 1)


async def test_a_correction_becomes_the_ideal_answer_once(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("Blue",)))
    response_id = await ask(ann)
    first = await say(ann, response_id, correction="Red", comment="warmer")
    again = await say(ann, response_id, correction="Red", comment="warmer")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (first.json()["kind"], first.json()["choice"]) == ("edit", "edited")
    [pair] = (await learned(heed)).pairs
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("Red", "Blue")
    assert [turn.model_dump() for turn in pair.prompt] == TALK


async def test_a_correction_that_changes_nothing_is_named(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("Blue",)))
    refused = await say(ann, await ask(ann), correction="Blue")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "correction")


async def test_a_thumb_that_was_taken_back_can_be_given_again(ann: Any) -> None:
    response_id = await ask(ann)
    first = (await say(ann, response_id, rating="up")).json()["id"]
    assert (await ann.call("DELETE", f"/api/v1/votes/{first}")).status_code == 200
    assert (await say(ann, response_id, rating="up")).json()["id"] != first


async def test_a_streamed_response_takes_feedback_as_soon_as_it_has_ended(ann: Any) -> None:
    body = {"model": "active", "messages": TALK, "stream": True}
    async with ann.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line async for line in response.aiter_lines()]
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
    assert (
        await say(ann, json.loads(lines[0].removeprefix("data: "))["id"], rating="down")
    ).status_code == 201


async def test_a_choice_between_two_answers_becomes_a_pair(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(("Blue",)), Script(("Azure, a light blue",)))
    response = await ask(ann, n=2)
    said = await say(ann, response, choice="a")
    assert (said.status_code, said.json()["kind"]) == (201, "duel")
    again = await say(ann, response, choice="a")
    assert (again.status_code, again.json()["id"]) == (200, said.json()["id"])
    other = await say(ann, response, choice="b")
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "already_voted"
    assert other.headers["x-should-retry"] == "false"
    pair = (await learned(heed)).pairs[0]
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("Blue", "Azure, a light blue")


async def test_the_same_feedback_is_one_vote_and_a_change_of_mind_another(heed: Any, ann: Any) -> None:
    response = await ask(ann)
    codes = [
        (await say(ann, response, rating=rating)).status_code for rating in ("up", "up", "down", "up", "up")
    ]
    assert codes == [201, 200, 201, 201, 200]
    assert await heed.parts.votes.total() == 3
    key = {"Idempotency-Key": "k"}
    body = {"response_id": await ask(ann), "rating": "up"}
    first = await ann.call("POST", "/v1/feedback", body, **key)
    assert (await ann.call("POST", "/v1/feedback", body, **key)).json() == first.json()
    clash = await ann.call("POST", "/v1/feedback", {**body, "rating": "down"}, **key)
    assert (clash.status_code, clash.json()["error"]["code"]) == (409, "idempotency_conflict")


async def test_only_the_account_that_asked_may_say(heed: Any, ann: Any) -> None:
    bob = await heed.person("bob")
    response = await ask(ann)
    refused = await say(bob, response, rating="up")
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "response_id")
    assert await heed.parts.votes.total() == 0


async def test_nothing_is_kept_that_should_not_be(heed: Any, ann: Any) -> None:
    for more in ({"store": False}, {"messages": TALK[:3]}):
        assert (await say(ann, await ask(ann, **more), rating="up")).status_code == 404
    assert await ann.get("/api/v1/conversations") == {"items": [], "more": False}, (
        "responses join with feedback only"
    )


async def test_a_deleted_conversation_does_not_come_back(ann: Any) -> None:
    response = await ask(ann)
    await say(ann, response, rating="up")
    listed = (await ann.get("/api/v1/conversations"))["items"]
    assert [(one["title"], one["system_prompt"]) for one in listed] == [("Name a colour.", "Be brief.")]
    await ann.call("DELETE", f"/api/v1/conversations/{listed[0]['id']}")
    assert (await say(ann, response, rating="down")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, "rating"),
        ({"rating": "up", "choice": "a"}, "choice"),
        ({"rating": "great"}, "rating"),
        ({"rating": "up", "index": 1}, "index"),
        ({"choice": "a"}, "choice"),
        ({"correction": ""}, "correction"),
        ({"rating": "up", "mood": "good"}, "mood"),
    ],
)
async def test_wrong_feedback_is_400_and_named(ann: Any, wrong: dict[str, Any], field: str) -> None:
    refused = await say(ann, await ask(ann), **wrong)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
