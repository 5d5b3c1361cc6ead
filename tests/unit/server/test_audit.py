"""The audit log as admins see it: filters, pages, CSV, and whether it was tampered with."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from store import keys

pytestmark = pytest.mark.anyio


async def train_and_cancel(admin: Any, times: int = 1) -> None:
    for _ in range(times):
        run = (await admin.call("POST", "/api/v1/runs")).json()
        await admin.call("POST", f"/api/v1/runs/{run['id']}/cancel")


async def test_entries_are_filtered_and_paged(admin: Any) -> None:
    await train_and_cancel(admin, 3)
    page = await admin.get("/api/v1/audit?action=cancel&limit=2")
    assert [one["action"] for one in page["items"]] == ["cancel", "cancel"]
    assert page["items"][0]["actor_name"] == "admin"
    rest = await admin.get(f"/api/v1/audit?action=cancel&limit=2&before={page['next']}")
    assert ([one["action"] for one in rest["items"]], rest["next"]) == (["cancel"], None)
    run_id = page["items"][0]["object"]
    both = (await admin.get(f"/api/v1/audit?object={run_id}"))["items"]
    assert [one["action"] for one in both] == ["cancel", "train_now"]
    assert len((await admin.get(f"/api/v1/audit?text={run_id.upper()}"))["items"]) == 2
    assert (await admin.get("/api/v1/audit?actor=acc_nobody"))["items"] == []
    assert (await admin.get("/api/v1/audit?until=2020-01-01T00:00:00Z"))["items"] == []
    assert (await admin.call("GET", "/api/v1/audit?before=hello")).status_code == 422


async def test_the_csv_has_every_entry_and_runs_nothing(heed: Any, admin: Any) -> None:
    await train_and_cancel(admin)
    formula = '=HYPERLINK("http://evil.example")'
    await admin.call("PUT", "/api/v1/schedule/pause", {"reason": formula})
    response = await admin.call("GET", "/api/v1/audit.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["action"] for row in rows] == ["schedule_paused", "cancel", "train_now"]
    assert rows[0]["reason"] == f"'{formula}"
    assert rows[0]["previous_hash"] == rows[1]["hash"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    only = await admin.call("GET", "/api/v1/audit.csv?action=cancel")
    assert only.text.count("\r\n") == 2


async def test_the_id_of_a_request_leads_to_its_entry(admin: Any) -> None:
    response = await admin.call("POST", "/api/v1/runs")
    found = (await admin.get(f"/api/v1/audit?text={response.headers['x-request-id']}"))["items"]
    assert [one["action"] for one in found] == ["train_now"]


async def test_tampering_is_told(heed: Any, admin: Any, redis_server: Any) -> None:
    await train_and_cancel(admin, 2)
    verdict = await admin.get("/api/v1/audit/verify")
    assert (verdict["entries"], verdict["broken_at"]) == (4, None)
    client = redis_server.client()
    second = client.xrange(keys.AUDIT)[1][0]
    client.xdel(keys.AUDIT, second)
    broken = await admin.get("/api/v1/audit/verify")
    assert broken["broken_at"] is not None
    assert "removed" in broken["reason"]
