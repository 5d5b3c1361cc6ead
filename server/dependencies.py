"""What a handler may ask for, and the rule that every route needs a signed-in account unless it is marked open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request

from server.engines.pool import EnginePool
from server.errors import Problem, not_found
from server.settings import ServerConfig, ServerSettings
from server.turns import TurnService
from server.votes import VoteService
from store.accounts import Accounts
from store.audit import Audit
from store.conversations import Conversations
from store.policies import Policies
from store.records import Account, Conversation
from store.runs import Runs
from store.streams import AnswerStream, Feed
from store.votes import VoteLog

COOKIE = "heed_session"
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
Handler = TypeVar("Handler", bound=Callable[..., object])


class Parts:
    """Everything the handlers use, made once by `create_app`."""

    def __init__(
        self,
        settings: ServerSettings,
        config: ServerConfig,
        pool: EnginePool,
        turns: TurnService,
        voting: VoteService,
        accounts: Accounts,
        audit: Audit,
        conversations: Conversations,
        policies: Policies,
        runs: Runs,
        streams: AnswerStream,
        feed: Feed,
        votes: VoteLog,
    ) -> None:
        self.settings = settings
        self.config = config
        self.pool = pool
        self.turns = turns
        self.voting = voting
        self.accounts = accounts
        self.audit = audit
        self.conversations = conversations
        self.policies = policies
        self.runs = runs
        self.streams = streams
        self.feed = feed
        self.votes = votes


def parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


Heed = Annotated[Parts, Depends(parts)]


def open_to_all(handler: Handler) -> Handler:
    """Mark a handler that answers without an account."""
    handler.open_to_all = True  # type: ignore[attr-defined]
    return handler


def refuse_foreign_origin(request: Request) -> None:
    """A page of another site must not act with this person's cookie."""
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if request.method in UNSAFE and (
        foreign or request.headers.get("sec-fetch-site") not in (None, "none", "same-origin")
    ):
        raise Problem(
            403, "foreign_origin", "this request came from another site", remedy="use Heed's own page"
        )


async def authorize(request: Request, heed: Heed) -> None:
    """Default deny, for every route of the application."""
    handler = request.scope["route"].endpoint
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        request.state.account = await heed.accounts.by_key(secret.strip())
    else:
        refuse_foreign_origin(request)
        token = request.cookies.get(COOKIE)
        request.state.account = await heed.accounts.session(token) if token else None
    if request.state.account is None and not getattr(handler, "open_to_all", False):
        raise Problem(401, "not_signed_in", "this needs an account", remedy="sign in, or send an API key")


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


OwnConversation = Annotated[Conversation, Depends(own_conversation)]
