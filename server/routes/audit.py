"""The audit log: filtered pages, a CSV of the same, and a look at the whole chain."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from server.audit_shapes import AuditOut, AuditPage, AuditVerdict
from server.dependencies import Admin, Heed, Parts
from store.audit import CHUNK, Entry

router = APIRouter(prefix="/api/v1", tags=["audit"])

LOOKED_AT = 20_000
"""Entries that one request reads at most: a rare filter then gives a short page with `next`."""
COLUMNS = (
    *("id", "at", "actor", "actor_name", "action", "object", "before", "after", "detail", "reason"),
    *("request_id", "previous_hash", "hash"),
)


class Filter(BaseModel):
    """Which entries are wanted; words are compared as they stand, but `text`, which is searched for."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, entry: Entry) -> bool:
        event = entry.event
        return (
            self.actor in (None, event.actor)
            and self.action in (None, event.action)
            and self.object in (None, event.object)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
            and (self.text is None or self.text.casefold() in event.model_dump_json().casefold())
        )


async def wanted(
    actor: str | None = None,
    action: str | None = None,
    object: str | None = None,
    text: Annotated[str | None, Query(max_length=200)] = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Filter:
    """The filter that the query string names."""
    return Filter(actor=actor, action=action, object=object, text=text, since=since, until=until)


Wanted = Annotated[Filter, Depends(wanted)]
Before = Annotated[str, Query(pattern=r"^(\+|\d{1,19}-\d{1,19})$")]


@router.get("/audit")
async def list_audit(
    heed: Heed,
    admin: Admin,
    wanted: Wanted,
    before: Before = "+",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AuditPage:
    """Entries that fit the filter, the newest first."""
    names = await _names(heed)
    items: list[AuditOut] = []
    looked, last = 0, before
    async for entry in _entries(heed, before):
        if len(items) == limit or looked == LOOKED_AT:
            return AuditPage(items=items, next=last)
        looked, last = looked + 1, entry.id
        if wanted.takes(entry):
            items.append(_out(entry, names))
    return AuditPage(items=items, next=None)


@router.get("/audit/verify")
async def verify_audit(heed: Heed, admin: Admin) -> AuditVerdict:
    """Recompute the chain of hashes; where it breaks first, if it does."""
    return AuditVerdict.model_validate((await heed.audit.verify())._asdict())


@router.get("/audit.csv", response_class=StreamingResponse)
async def audit_csv(heed: Heed, admin: Admin, wanted: Wanted) -> StreamingResponse:
    """Every entry that fits the filter, the newest first, with the hashes."""
    headers = {"Content-Disposition": 'attachment; filename="heed-audit.csv"'}
    return StreamingResponse(_csv(heed, wanted), media_type="text/csv; charset=utf-8", headers=headers)


async def _csv(heed: Parts, wanted: Filter) -> AsyncIterator[str]:
    names = await _names(heed)
    yield _row(COLUMNS)
    async for entry in _entries(heed, "+"):
        if wanted.takes(entry):
            fields = _out(entry, names).model_dump(mode="json")
            yield _row([_cell(fields[name]) for name in COLUMNS])


async def _entries(heed: Parts, before: str) -> AsyncIterator[Entry]:
    while True:
        page = await heed.audit.page(CHUNK, before)
        for entry in page:
            yield entry
        if len(page) < CHUNK:
            return
        before = page[-1].id


async def _names(heed: Parts) -> dict[str, str]:
    return {account.id: account.name for account in await heed.accounts.all()}


def _out(entry: Entry, names: dict[str, str]) -> AuditOut:
    event = entry.event
    fields = event.model_dump(include=set(AuditOut.model_fields))
    return AuditOut(
        **fields | {"reason": event.reason or event.detail.get("reason")},
        id=entry.id,
        hash=entry.hash,
        previous_hash=entry.previous_hash,
        actor_name=names.get(event.actor),
        object_name=names.get(event.object),
    )


def _cell(value: object) -> str:
    """A cell's text. A spreadsheet must not run what somebody typed: `=...` gets a quote before."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _row(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
