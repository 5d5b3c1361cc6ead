"""Set-up by the one-time link, sign-in, API keys, accounts."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server import shapes
from server.dependencies import COOKIE, Admin, Heed, Me, open_to_all, refuse_foreign_origin
from store.accounts import ABSOLUTE_S
from store.records import AuditEvent, now

router = APIRouter(prefix="/api/v1", tags=["accounts"])


def _sign_in(request: Request, response: Response, token: str) -> None:
    response.set_cookie(
        COOKIE, token, max_age=ABSOLUTE_S, httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )


@router.get("/setup")
@open_to_all
async def setup_state(heed: Heed) -> shapes.SetupState:
    """Whether the first admin is still to be made."""
    return shapes.SetupState(needed=await heed.accounts.setup_needed())


@router.post("/setup", status_code=201)
@open_to_all
async def setup(body: shapes.SetupIn, request: Request, response: Response, heed: Heed) -> shapes.AccountOut:
    """Make the first admin with the token of the one-time link."""
    refuse_foreign_origin(request)
    account = await heed.accounts.create_first(body.token, body.name, body.password)
    await heed.audit.append(AuditEvent(actor=account.id, action="setup", object=account.id, at=now()))
    _sign_in(request, response, await heed.accounts.open_session(account))
    return shapes.account_out(account)


@router.post("/login")
@open_to_all
async def login(body: shapes.LoginIn, request: Request, response: Response, heed: Heed) -> shapes.AccountOut:
    """Sign in with name and password."""
    refuse_foreign_origin(request)
    address = request.client.host if request.client else ""
    account, token = await heed.accounts.login(body.name, body.password, address)
    _sign_in(request, response, token)
    return shapes.account_out(account)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, heed: Heed, _: Me) -> None:
    """End this session."""
    await heed.accounts.logout(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE)


@router.get("/me")
async def me(account: Me) -> shapes.AccountOut:
    """Who is signed in."""
    return shapes.account_out(account)


@router.post("/keys", status_code=201)
async def create_key(body: shapes.KeyIn, heed: Heed, account: Me) -> shapes.KeyOut:
    """A new API key; its secret is shown this once."""
    key, secret = await heed.accounts.create_key(account.id, body.label)
    return shapes.KeyOut(id=key.id, label=key.label, secret=secret)


@router.post("/accounts", status_code=201)
async def create_account(body: shapes.AccountIn, heed: Heed, admin: Admin) -> shapes.AccountOut:
    """A new account for somebody else."""
    account = await heed.accounts.create(body.name, body.password, body.role)
    await heed.audit.append(AuditEvent(actor=admin.id, action="account", object=account.id, at=now()))
    return shapes.account_out(account)
