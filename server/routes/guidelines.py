"""Guidelines: what annotators are asked to prefer."""

from __future__ import annotations

from fastapi import APIRouter

from server.dependencies import Admin, Heed, Me
from server.errors import not_found
from server.vote_shapes import GuidelinesIn, GuidelinesOut, GuidelinesRead
from store.records import AuditEvent, Guidelines, now

router = APIRouter(prefix="/api/v1/guidelines", tags=["votes"])


@router.get("")
async def get_guidelines(heed: Heed, me: Me) -> GuidelinesOut:
    """The guidelines that hold now, and what the caller has read of them."""
    newest, read = await heed.guidelines.newest(), await heed.guidelines.read_by(me.id)
    old = await heed.guidelines.version(read) if newest and 0 < read < newest.version else None
    return GuidelinesOut(newest=newest, read_version=read, read=old)


@router.put("")
async def write_guidelines(body: GuidelinesIn, heed: Heed, admin: Admin) -> Guidelines:
    """A new version; votes from now on are made under it."""
    written = await heed.guidelines.write(body.text, admin.id, body.after)
    await heed.guidelines.mark_read(admin.id, written.version)
    what = f"guidelines {written.version}"
    await heed.audit.append(AuditEvent(actor=admin.id, action="write_guidelines", object=what, at=now()))
    return written


@router.get("/{version}")
async def get_guidelines_version(version: int, heed: Heed, _: Me) -> Guidelines:
    """An earlier version."""
    found = await heed.guidelines.version(version) if version > 0 else None
    if found is None:
        raise not_found("version of the guidelines")
    return found


@router.post("/read", status_code=204)
async def mark_guidelines_read(body: GuidelinesRead, heed: Heed, me: Me) -> None:
    """Say that the caller has read this version."""
    if await heed.guidelines.version(body.version) is None:
        raise not_found("version of the guidelines")
    await heed.guidelines.mark_read(me.id, body.version)
