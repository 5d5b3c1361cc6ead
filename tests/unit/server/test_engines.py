"""The routes of the engine fleet."""

from __future__ import annotations

from typing import Any

import pytest

from store.records import EngineStatus, now

pytestmark = pytest.mark.anyio

NEW = {"name": "gpu-7", "address": "https://10.0.0.7:8090"}


async def seen(heed: Any, *names: str, **states: Any) -> None:
    statuses = [
        EngineStatus(name=name, address="unix:///e", state=states.get(name, "ready"), seen_at=now())
        for name in names
    ]
    await heed.parts.policies.report_engines("here", statuses)


async def test_an_engine_joins_drains_and_leaves(heed: Any, admin: Any) -> None:
    joined = await admin.call("POST", "/api/v1/engines", NEW)
    assert joined.status_code == 201
    assert joined.json()["device"] == "gpu-7", "its own"
    await seen(heed, "engine-1", "gpu-7")
    items = (await admin.get("/api/v1/engines"))["items"]
    assert [(item["status"]["name"], item["joined"]) for item in items] == [
        ("engine-1", False),
        ("gpu-7", True),
    ]
    drained = await admin.call("POST", "/api/v1/engines/gpu-7/drain", {"draining": True})
    assert (drained.status_code, drained.json()["draining"]) == (202, True)
    assert await heed.parts.registry.draining() == {"gpu-7"}
    assert (await admin.call("DELETE", "/api/v1/engines/gpu-7")).status_code == 204
    assert await heed.parts.registry.members() == []
    acts = [event.action for event in await heed.parts.audit.newest()]
    assert acts == ["engine_leave", "engine_drain", "engine_join"]


async def test_the_last_engine_that_answers_stays(heed: Any, admin: Any) -> None:
    await admin.call("POST", "/api/v1/engines", NEW)
    await seen(heed, "engine-1", "gpu-7", **{"engine-1": "down"})
    for method, path, body in (
        ("POST", "/api/v1/engines/gpu-7/drain", {"draining": True}),
        ("DELETE", "/api/v1/engines/gpu-7", None),
    ):
        refused = await admin.call(method, path, body)
        assert refused.status_code == 409
        assert refused.json()["remedy"] == "let another engine join first"
    resumed = await admin.call("POST", "/api/v1/engines/gpu-7/drain", {"draining": False})
    assert resumed.status_code == 202


async def test_what_cannot_be_is_said(heed: Any, admin: Any, ann: Any) -> None:
    await seen(heed, "engine-1")
    assert (await ann.call("POST", "/api/v1/engines", NEW)).status_code == 403
    taken = await admin.call("POST", "/api/v1/engines", NEW | {"name": "engine-1"})
    assert (taken.status_code, taken.json()["field"]) == (409, "name")
    bad = await admin.call("POST", "/api/v1/engines", NEW | {"address": "file:///etc/passwd"})
    assert (bad.status_code, bad.json()["field"]) == (422, "address")
    fixed = await admin.call("DELETE", "/api/v1/engines/engine-1")
    assert fixed.status_code == 409
    assert "HEED_ENGINES" in fixed.json()["remedy"]
    assert (await admin.call("DELETE", "/api/v1/engines/nothing")).status_code == 404
    drained = await admin.call("POST", "/api/v1/engines/nothing/drain", {"draining": True})
    assert drained.status_code == 404
