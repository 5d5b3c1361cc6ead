"""What a handler may ask for; and the rule that every route needs an account unless it is marked open.

A handler names what it needs by the type of its account parameter (`Watcher`, `Releaser`, ...); who names
nothing needs `chat`. `authorize` decides, in one place, by role and, for an API key, by scope
(`server/permissions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from server.admission import Admission
from server.engines.pool import EnginePool
from server.errors import Problem, not_found
from server.explorer import Explorer
from server.metrics import Metrics
from server.permissions import MAY, Permission, covers, roles_that_may, scope_for
from server.queue import QueueService
from server.settings import ScheduleShown, ServerConfig, ServerSettings
from server.statistics import Statistics
from server.trial import Trial
from server.turns import TurnService
from server.votes import VoteService
from store import disk
from store.accounts import Accounts
from store.api_keys import ApiKeys
from store.audit import Audit
from store.conversations import Conversations
from store.engines import EngineRegistry
from store.guidelines import GuidelineBook
from store.hacking import HackingWatch
from store.health import Health
from store.imports import Imports
from store.invites import Invites
from store.limits import Limits
from store.lineage import Lineage
from store.opinions import Opinions
from store.outlook import Outlooks
from store.policies import Policies
from store.presence import Presence
from store.queue import Queue
from store.records import Account, Answer, ApiKey, Conversation, Duel, Session
from store.requests import Requests
from store.responses import Responses
from store.run_options import RunOptionsBook
from store.runs import Runs
from store.search import Search
from store.sessions import Sessions, is_fresh
from store.start_rules import StartRulesBook
from store.streams import AnswerStream, Feed
from store.trash import Trash
from store.votes import VoteLog

COOKIE = "heed_session"
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
Handler = TypeVar("Handler", bound=Callable[..., object])


@dataclass(frozen=True)
class Parts:
    """Everything the handlers use, made once by `create_app`."""

    settings: ServerSettings
    config: ServerConfig
    pool: EnginePool
    admission: Admission
    turns: TurnService
    voting: VoteService
    trial: Trial
    guidelines: GuidelineBook
    lineage: Lineage
    opinions: Opinions
    hacking: HackingWatch
    queue: Queue
    tasks: QueueService
    accounts: Accounts
    sessions: Sessions
    api_keys: ApiKeys
    invites: Invites
    audit: Audit
    conversations: Conversations
    policies: Policies
    registry: EngineRegistry
    runs: Runs
    requests: Requests
    outlooks: Outlooks
    start_rules: StartRulesBook
    run_options: RunOptionsBook
    health: Health
    presence: Presence
    streams: AnswerStream
    feed: Feed
    votes: VoteLog
    limits: Limits
    responses: Responses
    explorer: Explorer
    imports: Imports
    statistics: Statistics
    search: Search
    trash: Trash
    metrics: Metrics
    warnings: list[str]
    """What is wrong with the store's durability; filled at the start."""

    async def schedule(self) -> ScheduleShown:
        """The file's section with what people changed of the start rules. Raises StoreUnavailable."""
        return (await self.start_rules.changes()).over(self.config.schedule)


async def parts(request: Request) -> Parts:
    """A coroutine, as everything that handlers depend on: FastAPI runs plain functions in a thread each."""
    return cast(Parts, request.app.state.parts)


Heed = Annotated[Parts, Depends(parts)]


def open_to_all(handler: Handler) -> Handler:
    """Mark a handler that answers without an account."""
    handler.open_to_all = True  # type: ignore[attr-defined]
    return handler


def refuse_foreign_origin(request: Request) -> None:
    """A page of another site must not act with this person's cookie.

    Browsers send Sec-Fetch-Site or Origin with every unsafe request; what sends neither is not a browser.
    """
    if request.method not in UNSAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not own:
        detail = "this request came from another site"
        raise Problem(403, "foreign_origin", detail, field="Origin", remedy="use Heed's own page")


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and how they signed in."""

    account: Account
    key: ApiKey | None = None
    session: Session | None = None

    def may(self, permission: Permission, method: str) -> bool:
        """By role, and by scope when it is a program."""
        if permission not in MAY[self.account.role]:
            return False
        return self.key is None or covers(self.key.scopes, scope_for(permission, method))


async def caller_of(request: Request, heed: Parts) -> Caller | None:
    """Who sends this request: by API key, else by the session cookie; nobody when the account is disabled."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found = await heed.api_keys.find(secret.strip())
        caller = Caller(found[1], key=found[0]) if found else None
    else:
        refuse_foreign_origin(request)
        token = request.cookies.get(COOKIE)
        session = await heed.sessions.get(token) if token else None
        account = await heed.accounts.get(session.account_id) if session else None
        caller = Caller(account, session=session) if account else None
    return None if caller is None or caller.account.disabled_at is not None else caller


class Needs:
    """Marks a handler's account parameter with what the account must be allowed to do.

    `fresh`: a browser must have typed its password within ten minutes. A program is asked for its scope
    instead: it has no password to type. None: whoever is signed in.
    """

    def __init__(self, permission: Permission | None, *, fresh: bool = False) -> None:
        self.permission = permission
        self.fresh = fresh

    async def __call__(self, request: Request) -> Account:
        return await current_account(request)


def needs_of(dependant: Dependant) -> list[Needs]:
    """What a route's handler and its dependencies declare."""
    own = [dependant.call] if isinstance(dependant.call, Needs) else []
    return [*own, *(need for below in dependant.dependencies for need in needs_of(below))]


async def authorize(request: Request, heed: Heed) -> None:
    """Default deny, for every route of the application."""
    route = request.scope["route"]
    if getattr(route.endpoint, "open_to_all", False):
        refuse_foreign_origin(request)
        return
    caller = await caller_of(request, heed)
    if caller is None:
        remedy = "sign in on the web page, or send an API key as `Authorization: Bearer heed_sk_...`"
        raise Problem(401, "sign_in", "this needs an account", remedy=remedy)
    request.state.caller, request.state.account = caller, caller.account
    for need in needs_of(route.dependant) or [Needs("chat")]:
        refuse_unless_allowed(caller, need, request.method)
    if request.method in UNSAFE - {"DELETE"}:
        refuse_on_a_full_disk(heed.settings.data)


def refuse_on_a_full_disk(data: Path) -> None:
    """Nothing new is written once only the reserve is left. Raises Problem 507."""
    if disk.free_bytes(data) < disk.reserve_bytes(data):
        detail = "the server's disk is full; nothing was counted or changed"
        remedy = "try again later with the same Idempotency-Key; whoever runs this server must make room"
        raise Problem(507, "disk_full", detail, remedy=remedy, retry_after_s=30)


def refuse_unless_allowed(caller: Caller, need: Needs, method: str) -> None:
    """Raises Problem 403 that names the roles, or the scope, or asks for the password."""
    if need.permission is None:
        return
    if need.permission not in MAY[caller.account.role]:
        roles = " or ".join(roles_that_may(need.permission))
        detail = f"this needs the role {roles}; yours is {caller.account.role}"
        raise Problem(403, "not_your_role", detail, remedy="ask an admin")
    if not caller.may(need.permission, method):
        scope = scope_for(need.permission, method)
        detail = f"this API key lacks the scope {scope}"
        raise Problem(403, "not_in_scope", detail, remedy=f"make a key with the scope {scope}")
    if need.fresh and caller.session is not None and not is_fresh(caller.session):
        detail = "your last sign-in is more than ten minutes ago"
        raise Problem(403, "confirm_password", detail, remedy="type your password again")


async def current_account(request: Request) -> Account:
    return cast(Account, request.state.account)


async def current_caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


Me = Annotated[Account, Depends(current_account)]
"""Who is signed in; says nothing about what they need."""
Signed = Annotated[Caller, Depends(current_caller)]
"""The same, with the session or key."""
Anybody = Annotated[Account, Depends(Needs(None))]
"""Whoever is signed in, and by any key."""
Owner = Annotated[Account, Depends(Needs("own"))]
"""For one's own password, sessions and keys."""
Voter = Annotated[Account, Depends(Needs("vote"))]
Annotator = Annotated[Account, Depends(Needs("annotate"))]
Watcher = Annotated[Account, Depends(Needs("watch"))]
Reviewer = Annotated[Account, Depends(Needs("review"))]
Engineer = Annotated[Account, Depends(Needs("train"))]
Releaser = Annotated[Account, Depends(Needs("release", fresh=True))]
"""Moves versions: promote, canary, roll back."""
Admin = Annotated[Account, Depends(Needs("manage"))]
FreshAdmin = Annotated[Account, Depends(Needs("manage", fresh=True))]
"""For what cannot be taken back: purge, roles, keys of others."""


async def own_conversation(conversation_id: str, heed: Heed, me: Me) -> Conversation:
    """The caller's own conversation; somebody else's does not exist for them."""
    conversation = await heed.conversations.get(conversation_id)
    if conversation is None or conversation.owner_id != me.id:
        raise not_found("conversation")
    return conversation


async def own_answer(answer_id: str, heed: Heed, me: Me) -> Answer:
    """An answer in one of the caller's conversations."""
    answer = await heed.conversations.answer(answer_id)
    conversation = await heed.conversations.get(answer.conversation_id) if answer else None
    if answer is None or conversation is None or conversation.owner_id != me.id:
        raise not_found("answer")
    return answer


async def own_duel(duel_id: str, heed: Heed, me: Me) -> Duel:
    """A duel in one of the caller's conversations."""
    duel = await heed.conversations.duel(duel_id)
    if duel is None or duel.owner_id != me.id:
        raise not_found("duel")
    return duel


OwnConversation = Annotated[Conversation, Depends(own_conversation)]
OwnAnswer = Annotated[Answer, Depends(own_answer)]
OwnDuel = Annotated[Duel, Depends(own_duel)]
