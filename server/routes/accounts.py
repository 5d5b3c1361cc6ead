"""Set-up by the one-time link, sign-in, one's own password and sessions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server import people_shapes, shapes
from server.auditing import Noted
from server.dependencies import COOKIE, Anybody, Heed, Owner, Signed, open_to_all, refuse_foreign_origin
from server.errors import Problem, not_found
from store.records import Account
from store.sessions import ABSOLUTE_S

router = APIRouter(prefix="/api/v1", tags=["accounts"])


async def sign_in(request: Request, response: Response, heed: Heed, account: Account) -> None:
    """Open a session in this browser."""
    agent = request.headers.get("user-agent", "")
    token = await heed.sessions.open(account, address_of(request), agent)
    response.set_cookie(
        COOKIE, token, max_age=ABSOLUTE_S, httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


@router.get("/setup")
@open_to_all
async def setup_state(heed: Heed) -> shapes.SetupState:
    """Whether the first admin is still to be made."""
    return shapes.SetupState(needed=await heed.accounts.setup_needed())


@router.post("/setup", status_code=201)
@open_to_all
async def setup(
    body: shapes.SetupIn, request: Request, response: Response, heed: Heed, noted: Noted
) -> shapes.AccountOut:
    """Make the first admin with the token of the one-time link."""
    refuse_foreign_origin(request)
    account = await heed.accounts.create_first(body.token, body.name, body.password)
    await noted("setup", account.id, actor=account.id, after={"name": account.name, "role": account.role})
    await sign_in(request, response, heed, account)
    return shapes.account_out(account)


@router.post("/login")
@open_to_all
async def login(body: shapes.LoginIn, request: Request, response: Response, heed: Heed) -> shapes.AccountOut:
    """Sign in with name and password."""
    refuse_foreign_origin(request)
    account = await heed.accounts.login(body.name, body.password, address_of(request))
    await sign_in(request, response, heed, account)
    return shapes.account_out(account)


@router.post("/login/confirm", status_code=204)
async def confirm(
    body: people_shapes.ConfirmIn, request: Request, heed: Heed, me: Anybody, caller: Signed
) -> None:
    """Say the password again: what moves versions asks for one typed within ten minutes."""
    if caller.session is None:
        raise Problem(409, "no_session", "an API key has no sign-in to refresh", remedy="use its scope")
    await heed.accounts.confirm(me, body.password, address_of(request))
    await heed.sessions.confirm(request.cookies[COOKIE])


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, heed: Heed, _: Anybody) -> None:
    """End this session."""
    await heed.sessions.end(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE)


@router.get("/me")
async def me(account: Anybody) -> shapes.AccountOut:
    """Who is signed in, and what they may do."""
    return shapes.account_out(account)


@router.post("/password", status_code=204)
async def change_password(
    body: people_shapes.PasswordIn, request: Request, heed: Heed, me: Owner, noted: Noted
) -> None:
    """A new password; every other browser of the account is signed out."""
    await heed.accounts.confirm(me, body.current, address_of(request))
    await heed.accounts.set_password(me.id, body.password)
    await heed.sessions.revoke_all(me.id, keep=request.cookies.get(COOKIE))
    await noted("password_changed", me.id)


@router.get("/sessions")
async def list_sessions(heed: Heed, me: Owner, caller: Signed) -> people_shapes.SessionPage:
    """The caller's signed-in browsers, the newest first."""
    sessions = await heed.sessions.of(me.id)
    return people_shapes.SessionPage(
        items=[people_shapes.session_out(session, caller.session) for session in sessions]
    )


@router.delete("/sessions/{session_id}", status_code=204)
async def revoke_session(session_id: str, heed: Heed, me: Owner, noted: Noted) -> None:
    """Sign one browser of the caller out."""
    if not await heed.sessions.revoke(me.id, session_id):
        raise not_found("session")
    await noted("session_revoked", session_id)


@router.delete("/sessions")
async def revoke_other_sessions(request: Request, heed: Heed, me: Owner, noted: Noted) -> dict[str, int]:
    """Sign every browser of the caller out, but this one."""
    revoked = await heed.sessions.revoke_all(me.id, keep=request.cookies.get(COOKIE))
    await noted("sessions_revoked", me.id, after={"revoked": revoked})
    return {"revoked": revoked}
