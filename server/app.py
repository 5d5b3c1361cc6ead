"""The application: its parts, its routes, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from server.admission import Admission
from server.dependencies import Parts, authorize
from server.engines import reconcile
from server.engines.client import HERE, EngineClient
from server.engines.pool import EnginePool
from server.engines.token import engine_token
from server.errors import add_handlers
from server.explorer import Explorer
from server.flagging import Flagging
from server.leaks import served_names
from server.metrics import Metrics
from server.queue import QueueService
from server.routes import (
    accounts,
    admin,
    answers,
    api_keys,
    archive,
    audit,
    conversations,
    engines,
    exchange,
    explorer,
    guidelines,
    openai,
    opinions,
    ops,
    people,
    queue,
    statistics,
    streams,
    system,
    training,
    versions,
    votes,
)
from server.security import Shield
from server.settings import ServerSettings, read_config
from server.statistics import Statistics
from server.trash import emptied
from server.trial import Trial
from server.turns import TurnService
from server.votes import VoteService
from server.webpage import WebPage
from store.accounts import Accounts
from store.api_keys import ApiKeys
from store.audit import Audit
from store.canary_watch import CanaryWatch
from store.connection import Redis, StoreUnavailable, check_durable, connect
from store.conversations import Conversations
from store.engines import EngineRegistry
from store.explorer.index import VoteIndex
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
from store.requests import Requests
from store.responses import Responses
from store.reviews import Reviews
from store.run_options import RunOptionsBook
from store.runs import Runs
from store.search import Search
from store.sessions import Sessions
from store.start_rules import StartRulesBook
from store.streams import AnswerStream, Feed
from store.trash import Trash
from store.votes import VoteLog

STORE_PATIENCE_S = 30
CONNECTIONS = 2000
_ROUTES = (
    openai,  # first: routes are tried in this order, and programs ask most often
    *(accounts, people, api_keys, audit, conversations, archive, answers, streams, votes, guidelines, queue),
    *(explorer, exchange, statistics, opinions, admin, training, versions, engines, system, ops),
)
log = logging.getLogger("heed.server")


def create_app(settings: ServerSettings, pool: EnginePool | None = None) -> FastAPI:
    """The server on `settings`. With a `pool` given, nobody reconciles it: tests script it.

    Raises ConfigError when the TOML file cannot be used. Touches neither Redis nor engines before its start.
    """
    redis, readers = connect(_wide(settings.redis)), connect(_wide(settings.redis))
    parts = _parts(settings, redis, readers, pool or _pool(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(redis.aclose)
            stack.push_async_callback(readers.aclose)
            parts.warnings.extend(await _wait_for_store(redis))
            await _show_setup(parts)
            stack.enter_context(parts.presence.here())
            await _bury(parts)
            if pool is None:
                await stack.enter_async_context(_driven(parts))
            await stack.enter_async_context(emptied(parts.trash))
            await stack.enter_async_context(parts.turns.running())
            await stack.enter_async_context(parts.explorer.warming())
            yield

    app = FastAPI(
        title="Heed",
        summary="Online RLHF chat: conversations, blind duels, votes, retrains, versions.",
        version="0.1.0",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=[Depends(authorize)],
        redirect_slashes=False,
    )
    app.state.parts = parts
    add_handlers(app)
    for module in _ROUTES:
        app.include_router(module.router)
    app.router.default = _page_for_the_rest(app.router.default, WebPage(settings.web))
    app.add_middleware(Shield, metrics=parts.metrics, allowed_hosts=(*settings.allowed_hosts, settings.host))
    return app


def _page_for_the_rest(not_found: ASGIApp, page: ASGIApp) -> ASGIApp:
    """What no route takes: the page. Not a mount at `/`, which would turn each 405 of the API into a 404."""

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        await (page if scope["type"] == "http" else not_found)(scope, receive, send)

    return default


def _wide(redis_url: str) -> str:
    """The URL with room for many connections: redis-py refuses the 101st, as if Redis were away."""
    return f"{redis_url}{'&' if '?' in redis_url else '?'}max_connections={CONNECTIONS}"


def _parts(settings: ServerSettings, redis: Redis, readers: Redis, pool: EnginePool) -> Parts:
    """Everything on `redis`, but what browsers follow on `readers`: each open page blocks a connection."""
    config, metrics = read_config(settings), Metrics()
    conversations, log_of_votes = Conversations(redis, settings.data), VoteLog(redis, settings.data)
    names, policies = Accounts(redis, settings.data), Policies(redis, settings.data)
    presence = Presence(settings.data)
    book, index, items = GuidelineBook(redis), VoteIndex(redis, settings.data), Queue(redis)
    admission = Admission(pool, config.queue, metrics)
    turns = TurnService(
        pool,
        admission,
        policies,
        CanaryWatch(redis),
        conversations,
        AnswerStream(redis),
        metrics,
        config,
        presence.name,
        names=served_names(settings.data),
    )
    tasks = QueueService(redis, items, conversations, turns, log_of_votes, config.votes)
    flagging, audit_log = Flagging(conversations, log_of_votes, config.votes), Audit(redis)
    trial = Trial(names, items, log_of_votes, audit_log, flagging, config.votes)
    return Parts(
        settings=settings,
        config=config,
        pool=pool,
        admission=admission,
        turns=turns,
        voting=VoteService(conversations, log_of_votes, turns, book, tasks, flagging, trial),
        trial=trial,
        queue=items,
        tasks=tasks,
        guidelines=book,
        lineage=Lineage(redis),
        opinions=Opinions(redis),
        hacking=HackingWatch(redis),
        accounts=names,
        sessions=Sessions(redis),
        api_keys=ApiKeys(redis),
        invites=Invites(redis),
        audit=audit_log,
        conversations=conversations,
        policies=policies,
        registry=EngineRegistry(redis),
        runs=Runs(redis),
        requests=Requests(redis),
        outlooks=Outlooks(redis),
        start_rules=StartRulesBook(redis),
        run_options=RunOptionsBook(redis),
        health=Health(redis),
        presence=presence,
        streams=AnswerStream(readers),
        feed=Feed(readers),
        votes=log_of_votes,
        limits=Limits(redis),
        responses=Responses(redis),
        explorer=Explorer(index, log_of_votes, Reviews(redis), conversations, policies, names),
        imports=Imports(redis, settings.data),
        statistics=Statistics(
            index, policies, items, CanaryWatch(redis), canary_max_votes=config.release.canary_max_votes
        ),
        search=Search(redis, settings.data),
        trash=Trash(redis, settings.data),
        metrics=metrics,
        warnings=[],
    )


def _pool(settings: ServerSettings) -> EnginePool:
    """The engines of HEED_ENGINES, or the one that the launcher starts first."""
    engine = read_config(settings).engine
    addresses = settings.engines or (f"unix://{settings.data / 'run' / 'engine-1.sock'}",)
    return EnginePool(
        [_client(settings, *address.partition("#")[::2]) for address in addresses],
        max_model_len=engine.max_model_len,
        places=read_config(settings).queue.places,
        max_unavailable=engine.max_unavailable,
    )


def _client(settings: ServerSettings, address: str, device: str) -> EngineClient:
    """Engines on this machine share its cores unless they name a device; one elsewhere has its own."""
    name = _name(address)
    if address.startswith("unix://"):
        return EngineClient(name, address, device or HERE)
    return EngineClient(name, address, device or name, engine_token(settings))


def _name(address: str) -> str:
    """`unix:///run/engine-1.sock` -> `engine-1`; `http://host:port` -> `host:port`."""
    return Path(address).stem if address.startswith("unix://") else address.split("//", 1)[-1]


async def _wait_for_store(redis: Redis) -> list[str]:
    """Warnings about Redis. Raises UnsafeRedis when it could drop votes, StoreUnavailable after 30 s."""
    for second in range(STORE_PATIENCE_S):
        try:
            warnings = await check_durable(redis)
        except StoreUnavailable as error:
            if second == STORE_PATIENCE_S - 1:
                raise
            log.warning("waiting for Redis: %s", error)
            await asyncio.sleep(1)
            continue
        for warning in warnings:
            log.warning(warning)
        return warnings
    raise AssertionError("the last try raises")


async def _show_setup(parts: Parts) -> None:
    """Make the one-time set-up token before anybody asks for it; it is in a file, never in the log."""
    if await parts.accounts.setup_token() is not None:
        log.info("no account yet: the set-up token is in %s", parts.settings.data / "secrets" / "setup_token")


async def _bury(parts: Parts) -> None:
    """What killed servers of this machine were saying is over: whoever looks sees it at once."""
    if gone := parts.presence.gone():
        answers = await parts.streams.release_all(gone)
        log.warning("%d servers died without a farewell, under %d answers", len(gone), answers)
        for name in gone:
            parts.presence.forget(name)


@asynccontextmanager
async def _driven(parts: Parts) -> AsyncIterator[None]:
    """The engine pool, open, with a reconciler that moves versions until the server stops."""
    await parts.pool.open()
    try:
        async with asyncio.TaskGroup() as group:
            reconciler = group.create_task(_reconcile(parts))
            try:
                yield
            finally:
                reconciler.cancel()
    finally:
        await parts.pool.close()


async def _reconcile(parts: Parts) -> None:
    """Keep the reconciler alive: chat goes on with what the engines hold while it is mended."""
    while True:
        try:
            settings = parts.settings
            token = engine_token(settings)
            await reconcile.run(parts.pool, parts.policies, parts.registry, settings.server_id, token)
        except Exception:
            log.exception("the reconciler broke; it starts again")
            await asyncio.sleep(1)
