"""API keys: one's own, and for admins everybody's. Shown once, scoped, revocable."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from server.auditing import Noted
from server.dependencies import Heed, Needs, Owner, Signed, refuse_unless_allowed
from server.errors import not_found
from server.people_shapes import KeyIn, KeyMade, KeyPage, key_out
from store.records import SCOPES

router = APIRouter(prefix="/api/v1", tags=["keys"])
Everybody = Annotated[bool, Query(description="Of all accounts; for admins")]


@router.get("/keys")
async def list_keys(heed: Heed, me: Owner, caller: Signed, everybody: Everybody = False) -> KeyPage:
    """The caller's keys, or everybody's, with their last use; the newest first."""
    if everybody:
        refuse_unless_allowed(caller, Needs("manage"), "GET")
    found = await heed.api_keys.all(None if everybody else me.id)
    return KeyPage(items=[key_out(key, used_at) for key, used_at in found])


@router.post("/keys", status_code=201)
async def create_key(body: KeyIn, heed: Heed, me: Owner, caller: Signed, noted: Noted) -> KeyMade:
    """A new API key; its secret is shown this once. One with the scope `admin` asks for a fresh sign-in."""
    if "admin" in body.scopes:
        refuse_unless_allowed(caller, Needs("own", fresh=True), "POST")
    scopes = tuple(scope for scope in SCOPES if scope in body.scopes)
    key, secret = await heed.api_keys.create(me.id, body.label, scopes)
    await noted("key_created", key.id, after={"label": key.label, "scopes": list(scopes)})
    return KeyMade(**key_out(key, None).model_dump(), secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, heed: Heed, me: Owner, caller: Signed, noted: Noted) -> None:
    """The key stops to work at once. Somebody else's takes an admin."""
    found = {key.id: key for key, _ in await heed.api_keys.all()}
    key = found.get(key_id)
    if key is None or (key.account_id != me.id and not caller.may("manage", "DELETE")):
        raise not_found("key")
    await heed.api_keys.revoke(key_id)
    await noted("key_revoked", key_id, before={"label": key.label, "account": key.account_id})
