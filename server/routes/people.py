"""People: accounts with their roles, and one-time links that make them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from fastapi import APIRouter, Request, Response

from server import shapes
from server.auditing import Noted
from server.dependencies import Admin, FreshAdmin, Heed, Parts, open_to_all, refuse_foreign_origin
from server.errors import Problem, not_found
from server.people_shapes import (
    AcceptIn,
    InviteIn,
    InviteMade,
    InvitePage,
    InviteSeen,
    PersonChange,
    PersonOut,
    PersonPage,
    TokenIn,
    invite_out,
    person_out,
)
from server.routes.accounts import sign_in
from store.records import Account

router = APIRouter(prefix="/api/v1", tags=["people"])


@router.get("/accounts")
async def list_accounts(heed: Heed, admin: Admin) -> PersonPage:
    """Everybody, by name, with what they hold: sessions, keys, votes."""
    accounts = await heed.accounts.all()
    keys = Counter(key.account_id for key, _ in await heed.api_keys.all())
    return PersonPage(items=await asyncio.gather(*(_person(heed, one, keys[one.id]) for one in accounts)))


async def _person(heed: Parts, account: Account, keys: int) -> PersonOut:
    sessions, votes = await asyncio.gather(
        heed.sessions.of(account.id), heed.votes.count_by_annotator(account.id)
    )
    return person_out(
        account, on_trial=heed.trial.holds(account), sessions=len(sessions), keys=keys, votes=votes
    )


@router.post("/accounts", status_code=201)
async def create_account(
    body: shapes.AccountIn, heed: Heed, admin: FreshAdmin, noted: Noted
) -> shapes.AccountOut:
    """A new account for somebody else, with a password that the admin knows; an invite is the better way."""
    account = await heed.accounts.create(body.name, body.password, body.role)
    await noted("account_created", account.id, after={"name": account.name, "role": account.role})
    return shapes.account_out(account)


@router.patch("/accounts/{account_id}")
async def change_account(
    account_id: str, body: PersonChange, heed: Heed, admin: FreshAdmin, noted: Noted
) -> PersonOut:
    """Another role, or disable and enable. A disabled account is signed out everywhere; its keys stop.

    Also admit: the account's votes need not wait until it got known verdicts right.
    """
    try:
        before, after = await heed.accounts.change(
            account_id, role=body.role, disabled=body.disabled, admitted=body.admitted
        )
    except KeyError:
        raise not_found("account") from None
    if after.disabled_at is not None:
        await heed.sessions.revoke_all(account_id)
    if after.role != before.role:
        await noted("role_changed", account_id, before={"role": before.role}, after={"role": after.role})
    if after.disabled_at != before.disabled_at:
        await noted("account_disabled" if after.disabled_at else "account_enabled", account_id)
    if after.admitted_at != before.admitted_at:
        await noted("account_admitted" if after.admitted_at else "account_on_trial", account_id)
    if (body.admitted or body.role) and not heed.trial.holds(after):
        await heed.trial.release(account_id)
    keys = sum(key.account_id == account_id for key, _ in await heed.api_keys.all(account_id))
    return await _person(heed, after, keys)


@router.post("/accounts/{account_id}/password-link", status_code=201)
async def password_link(account_id: str, heed: Heed, admin: FreshAdmin, noted: Noted) -> InviteMade:
    """A one-time link, good for a day, by which somebody who lost their password sets a new one."""
    account = await heed.accounts.get(account_id)
    if account is None:
        raise not_found("account")
    invite, token = await heed.invites.create(admin.id, account.role, hours=24, account=account)
    await noted("password_link", account_id, after={"invite": invite.id})
    return _made(invite_out(invite).model_dump(), token)


@router.get("/invites")
async def list_invites(heed: Heed, admin: Admin) -> InvitePage:
    """Every link, the newest first; never its token."""
    return InvitePage(items=[invite_out(invite) for invite in await heed.invites.all()])


@router.post("/invites", status_code=201)
async def create_invite(body: InviteIn, heed: Heed, admin: FreshAdmin, noted: Noted) -> InviteMade:
    """A one-time link to an account with this role."""
    invite, token = await heed.invites.create(admin.id, body.role, body.hours, body.note)
    await noted("invited", invite.id, after={"role": body.role, "hours": body.hours, "note": body.note})
    return _made(invite_out(invite).model_dump(), token)


@router.delete("/invites/{invite_id}", status_code=204)
async def revoke_invite(invite_id: str, heed: Heed, admin: Admin, noted: Noted) -> None:
    """Take a link back."""
    invite = await heed.invites.revoke(invite_id)
    if invite is None:
        raise not_found("invite")
    await noted("invite_revoked", invite_id)


@router.post("/invites/look")
@open_to_all
async def look_at_invite(body: TokenIn, heed: Heed) -> InviteSeen:
    """What a link is for, before it is used. By POST, so that the token is in no log of addresses."""
    invite, _ = await heed.invites.open(body.token)
    account = await heed.accounts.get(invite.account_id) if invite.account_id else None
    return InviteSeen(role=invite.role, name=account.name if account else None, expires_at=invite.expires_at)


@router.post("/invites/accept", status_code=201)
@open_to_all
async def accept_invite(
    body: AcceptIn, request: Request, response: Response, heed: Heed, noted: Noted
) -> shapes.AccountOut:
    """Use a link: the account is made (or gets its new password), and this browser is signed in."""
    refuse_foreign_origin(request)
    invite, _ = await heed.invites.open(body.token)
    if invite.account_id is None and body.name is None:
        raise Problem(422, "invalid", "name: this is needed", field="name", remedy="choose a name")
    account, _ = await heed.accounts.accept(body.token, body.name or "", body.password)
    if invite.account_id is not None:
        await heed.sessions.revoke_all(account.id)
    act = "invite_used" if invite.account_id is None else "password_reset"
    await noted(act, account.id, actor=account.id, after={"invite": invite.id, "role": account.role})
    if account.disabled_at is None:
        await sign_in(request, response, heed, account)
    return shapes.account_out(account)


def _made(invite: dict[str, Any], token: str) -> InviteMade:
    return InviteMade(**invite, token=token)
