"""Votes over HTTP: once, durable, on finished duels of one's own."""

from __future__ import annotations

import asyncio
import signal
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes import Script

pytestmark = pytest.mark.anyio


async def test_a_vote_is_counted_once_and_reveals_the_versions(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    first = await ann.vote(turn["duel"]["id"], "b")
    again = await ann.vote(turn["duel"]["id"], "b")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    body = first.json()
    assert body["reveal"] == {"version_a": 1, "version_b": 1}
    assert (body["pending"], body["min_votes"]) == (1, 3)
    assert await heed.parts.votes.total() == 1
    duel = await ann.get(f"/api/v1/duels/{turn['duel']['id']}")
    assert (duel["vote"]["id"], duel["vote"]["choice"]) == (body["vote"]["id"], "b")
    assert (duel["version_a"], duel["version_b"]) == (1, 1)
    mine = (await ann.get("/api/v1/votes/mine"))["items"]
    assert [vote["choice"] for vote in mine] == ["b"]


@pytest.mark.parametrize(
    ("choice", "winner"),
    [("a", "answer_a"), ("b", "answer_b"), ("tie", "answer_a"), ("both_bad", "answer_a")],
)
async def test_the_winner_becomes_the_leaf(ann: Any, choice: str, winner: str) -> None:
    turn = await ann.duel()
    assert (await ann.vote(turn["duel"]["id"], choice)).status_code == 201
    tree = await ann.get(f"/api/v1/conversations/{turn['conversation']}")
    assert tree["conversation"]["leaf_id"] == turn["duel"][winner]
    assert {answer["policy_version"] for answer in tree["answers"]} == {1}


async def test_a_repeated_vote_leaves_a_conversation_that_went_on(ann: Any) -> None:
    turn = await ann.duel()
    await ann.vote(turn["duel"]["id"], "a")
    path = f"/api/v1/conversations/{turn['conversation']}"
    await ann.call("PATCH", path, {"leaf_id": turn["duel"]["answer_b"]})
    await ann.vote(turn["duel"]["id"], "a")
    assert (await ann.get(path))["conversation"]["leaf_id"] == turn["duel"]["answer_b"]


async def test_a_decided_duel_takes_no_second_vote(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    await ann.vote(turn["duel"]["id"], "a", key="one")
    response = await ann.vote(turn["duel"]["id"], "b", key="two")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:heed:already_voted"
    assert await heed.parts.votes.total() == 1


async def test_a_key_cannot_be_used_for_another_vote(heed: Any, ann: Any) -> None:
    first, second = await ann.duel(), await ann.duel()
    await ann.vote(first["duel"]["id"], "a")
    response = await ann.vote(second["duel"]["id"], "a")
    assert response.status_code == 409
    assert response.json()["field"] == "Idempotency-Key"
    assert await heed.parts.votes.total() == 1


async def test_a_duel_that_is_still_written_takes_no_vote(heed: Any, ann: Any) -> None:
    heed.pool.say(Script(), Script(hangs=True))
    turn = await ann.say("Hi", mode="duel")
    response = await ann.vote(turn["duel"]["id"])
    assert response.status_code == 409
    assert "duel.ready" in response.json()["remedy"]
    for answer in turn["answers"]:
        await ann.call("POST", f"/api/v1/answers/{answer['id']}/stop")


async def test_unknown_and_foreign_duels_do_not_exist(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    bob = await heed.person("bob")
    assert (await ann.vote("duel_nothing")).status_code == 404
    assert (await bob.vote(turn["duel"]["id"])).status_code == 404
    assert await heed.parts.votes.total() == 0


async def test_a_vote_needs_its_key(ann: Any) -> None:
    turn = await ann.duel()
    body = {"kind": "duel", "duel_id": turn["duel"]["id"], "choice": "a"}
    response = await ann.call("POST", "/api/v1/votes", body)
    assert response.status_code == 422
    assert response.json()["field"] == "Idempotency-Key"


async def test_ties_and_thumbs_are_no_pairs_but_count_as_votes(heed: Any, ann: Any) -> None:
    turn = await ann.duel()
    assert (await ann.vote(turn["duel"]["id"], "tie")).json()["pending"] == 0
    body = {"kind": "thumb", "answer_id": turn["duel"]["answer_a"], "choice": "up"}
    response = await ann.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": "thumb"})
    assert (response.status_code, response.json()["pending"]) == (201, 0)
    tree = await ann.get(f"/api/v1/conversations/{turn['conversation']}")
    thumbs = {answer["id"]: answer["thumb"] for answer in tree["answers"]}
    assert thumbs == {turn["duel"]["answer_a"]: "up", turn["duel"]["answer_b"]: None}


async def test_without_redis_no_vote_is_said_to_count(heed: Any, ann: Any, redis_server: Any) -> None:
    turn = await ann.duel()
    redis_server.stop(signal.SIGKILL)
    response = await ann.vote(turn["duel"]["id"])
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert "nothing was counted" in response.json()["detail"]
    redis_server.start()
    again = await ann.vote(turn["duel"]["id"])
    assert again.status_code == 201
    assert await heed.parts.votes.total() == 1


async def test_many_open_pages_do_not_keep_a_vote_out(heed: Any, ann: Any) -> None:
    voted = await ann.duel()
    heed.pool.say(Script(hangs=True))
    open_turn = await ann.say("Hi")
    readers = []
    for _ in range(120):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(heed.url).port)
        head = f"GET {open_turn['stream']} HTTP/1.1\r\nHost: localhost\r\nAuthorization: "
        writer.write((head + ann.http.headers["authorization"] + "\r\n\r\n").encode())
        readers.append((reader, writer))
    for reader, _ in readers:
        assert b" 200 " in await reader.readline()
        await reader.readuntil(b"answer.delta")
    assert (await ann.vote(voted["duel"]["id"])).status_code == 201
    await ann.call("POST", f"/api/v1/answers/{open_turn['answers'][0]['id']}/stop")
    for reader, writer in readers:
        await reader.readuntil(b"turn.end")
        writer.close()
        await writer.wait_closed()
