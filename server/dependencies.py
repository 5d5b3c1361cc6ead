"""What a handler may ask for, and the rule that every route needs an account unless it is marked open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request

from server.engines.pool import EnginePool
from server.errors import Problem, not_found
from server.explorer import Explorer
from server.metrics import Metrics
from server.queue import QueueService
from server.settings import ServerConfig, ServerSettings
from server.statistics import Statistics
from server.turns import TurnService
from server.votes import VoteService
from store.accounts import Accounts
from store.audit import Audit
from store.conversations import Conversations
from store.guidelines import GuidelineBook
from store.imports import Imports
from store.lineage import Lineage
from store.policies import Policies
from store.queue import Queue
from store.records import Account, Answer, Conversation, Duel
from store.runs import Runs
from store.search import Search
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
    turns: TurnService
    voting: VoteService
    guidelines: GuidelineBook
    lineage: Lineage
    queue: Queue
    tasks: QueueService
    accounts: Accounts
    audit: Audit
    conversations: Conversations
    policies: Policies
    runs: Runs
    streams: AnswerStream
    feed: Feed
    votes: VoteLog
    explorer: Explorer
    imports: Imports
    statistics: Statistics
    search: Search
    trash: Trash
    metrics: Metrics
    warnings: list[str]
    """What is wrong with the store's durability; filled at the start."""


def parts(request: Request) -> Parts:
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


async def account_of(request: Request, heed: Parts) -> Account | None:
    """Who sends this request: by API key, else by the session cookie."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await heed.accounts.by_key(secret.strip())
    refuse_foreign_origin(request)
    token = request.cookies.get(COOKIE)
    return await heed.accounts.session(token) if token else None


async def authorize(request: Request, heed: Heed) -> None:
    """Default deny, for every route of the application."""
    if getattr(request.scope["route"].endpoint, "open_to_all", False):
        refuse_foreign_origin(request)
        return
    request.state.account = await account_of(request, heed)
    if request.state.account is None:
        remedy = "sign in on the web page, or send an API key as `Authorization: Bearer heed_sk_...`"
        raise Problem(401, "sign_in", "this needs an account", remedy=remedy)


def current_account(request: Request) -> Account:
    return cast(Account, request.state.account)


Me = Annotated[Account, Depends(current_account)]


def require_admin(account: Me) -> Account:
    if account.role != "admin":
        raise Problem(403, "admins_only", "only an admin may do this", remedy="ask an admin")
    return account


Admin = Annotated[Account, Depends(require_admin)]


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
