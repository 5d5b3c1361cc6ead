"""The admin's routes: status, runs, versions, the live feed, metrics."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from store.records import PolicyVersion, now

pytestmark = pytest.mark.anyio


async def publish(heed: Any, number: int, active: int | None) -> None:
    folder = f"v{number:04d}"
    (heed.parts.settings.data / "policies" / folder).mkdir(parents=True)
    version = PolicyVersion(number=number, folder=folder, sha256="0" * 64, created_at=now())
    await heed.parts.policies.register(version)
    await heed.parts.policies.activate(number, "test", "because", expected=active)


async def test_status_of_an_empty_server(admin: Any) -> None:
    status = await admin.get("/api/v1/status")
    assert status["active"] is None
    assert status["votes"] == {"total": 0, "pending": 0, "min_votes": 3}
    assert status["run"] is None


async def test_train_now_opens_one_run_that_can_be_cancelled(heed: Any, admin: Any) -> None:
    made = await admin.call("POST", "/api/v1/runs")
    assert made.status_code == 201
    run_id = made.json()["id"]
    assert made.json()["requested_by"] == admin.account_id
    assert (await admin.get("/api/v1/status"))["run"]["id"] == run_id
    assert [run["id"] for run in (await admin.get("/api/v1/runs"))["items"]] == [run_id]
    assert (await admin.get(f"/api/v1/runs/{run_id}/metrics?after=0"))["items"] == []
    cancelled = await admin.call("POST", f"/api/v1/runs/{run_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert (await admin.call("GET", "/api/v1/runs/run_nothing")).status_code == 404
    assert (await admin.call("POST", "/api/v1/runs/run_nothing/cancel")).status_code == 404
    acts = [event.action for event in await heed.parts.audit.newest()]
    assert acts == ["cancel", "train_now"]


async def test_rollback_returns_to_the_version_before(heed: Any, admin: Any) -> None:
    await publish(heed, 1, None)
    nothing = await admin.call("POST", "/api/v1/policies/rollback", {"reason": "worse"})
    assert nothing.status_code == 409
    await publish(heed, 2, 1)
    assert (await admin.call("POST", "/api/v1/policies/rollback", {"reason": " "})).status_code == 422
    done = await admin.call("POST", "/api/v1/policies/rollback", {"reason": "worse"})
    assert done.status_code == 200
    assert (done.json()["number"], done.json()["previous"]) == (1, 2)
    page = await admin.get("/api/v1/policies")
    assert page["active"] == 1
    states = {version["number"]: version["state"] for version in page["items"]}
    assert states == {1: "active", 2: "rolled_back"}
    assert [one["number"] for one in page["timeline"]] == [1, 2, 1]
    assert (await admin.get("/api/v1/status"))["active"]["number"] == 1


async def test_the_feed_starts_now_and_continues_from_an_id(heed: Any, admin: Any) -> None:
    await heed.parts.feed.append("run", {"id": "before"})
    seen: list[tuple[str, str, Any]] = []
    attached = asyncio.Event()

    async def follow(count: int, **headers: str) -> None:
        async with admin.http.stream("GET", "/api/v1/events", headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            attached.set()
            one: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                one[name] = value
                if not line and "data" in one:
                    seen.append((one["id"], one["event"], json.loads(one["data"])))
                    one = {}
                if len(seen) == count:
                    return

    task = asyncio.create_task(follow(2))
    await attached.wait()
    await heed.parts.feed.append("run", {"id": "one"})
    await heed.parts.feed.append("policy", {"number": 2})
    async with asyncio.timeout(5):
        await task
    assert [(event, data) for _, event, data in seen] == [("run", {"id": "one"}), ("policy", {"number": 2})]
    first = seen[0][0]
    seen.clear()
    async with asyncio.timeout(5):
        await follow(1, **{"Last-Event-ID": first})
    assert seen[0][2] == {"number": 2}


async def test_a_vote_shows_up_in_the_feed_and_the_metrics(heed: Any, admin: Any) -> None:
    last = await heed.parts.feed.last_id()
    turn = await admin.duel()
    await admin.vote(turn["duel"]["id"], "b")
    entry = await anext(aiter(heed.parts.feed.read(last)))
    assert (entry.event, entry.data["choice"]) == ("vote", "b")
    text = (await admin.call("GET", "/metrics")).text
    assert 'heed_votes_total{choice="b",kind="duel"} 1.0' in text
    assert 'heed_generation_tokens_total{version="v1"} 4.0' in text
    assert 'heed_engine_up{engine="engine-1"} 1.0' in text
    assert 'route="/api/v1/conversations/{conversation_id}/messages"' in text
    assert turn["conversation"] not in text


async def test_ready_says_what_is_missing(heed: Any, admin: Any, redis_server: Any) -> None:
    assert (await admin.call("GET", "/readyz")).status_code == 200
    heed.pool.go_down()
    assert (await admin.call("GET", "/readyz")).json()["type"] == "urn:heed:engine_unavailable"
    heed.pool.come_back()
    redis_server.stop()
    assert (await admin.call("GET", "/healthz")).status_code == 200
    assert (await admin.call("GET", "/readyz")).json()["type"] == "urn:heed:store_unavailable"
    redis_server.start()
