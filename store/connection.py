"""The connection to Redis: fast refusal when it is away, refusal of a server that would lose votes."""

from __future__ import annotations

import asyncio
import builtins
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

# redis-py types every answer as bytes or str or None; the records validate what comes back.
Redis: TypeAlias = Any

SOCKET_TIMEOUT_S = 2.0
OLDEST = (6, 2)

# Each reader of a stream blocks on a connection of its own; redis-py's default of 100 would refuse the votes
# of everybody once a hundred tabs are open. Redis' own limit is 10,000.
MAX_CONNECTIONS = 10_000

_REFUSES_WRITES = re.compile(r"\b(MISCONF|OOM|LOADING|READONLY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN)\b")


class StoreUnavailable(Exception):
    """Redis cannot take or give state right now; nothing was acknowledged. Try again soon.

    A write may have been done although its answer was lost: repeat it with the same ids.
    """


class UnsafeRedis(Exception):
    """This Redis could drop votes; the message names the setting and the remedy."""


class _Cancellable:
    """A connection on which a cancelled write ends.

    redis-py bounds a write by `asyncio.wait_for`, which in Python 3.11 loses a cancellation that comes as the
    write ends (CPython issue 81839): a task in a loop over Redis would go on for ever, and so would whoever
    waits for its end.
    """

    socket_timeout: float | None

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        limit, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except builtins.TimeoutError:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise TimeoutError("Redis takes no commands") from None
        finally:
            self.socket_timeout = limit


def connect(redis_url: str) -> Redis:
    """A client that fails within seconds: redis-py's own retries would hold a voter for 3 to 4 s."""
    client = redis.asyncio.Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=1,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # redis-py would read its own version from the disk for each connection
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
    return client


@contextmanager
def available() -> Iterator[None]:
    """Turn Redis being away, loading, full or read-only into StoreUnavailable."""
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, OutOfMemoryError, ReadOnlyError) as error:
        raise StoreUnavailable(f"Redis is not available: {error}") from error
    except ResponseError as error:
        if _REFUSES_WRITES.search(str(error)):
            raise StoreUnavailable(f"Redis refuses writes: {error}") from error
        raise


async def check_durable(client: Redis) -> list[str]:
    """Warnings about durability; raises UnsafeRedis when keys could be evicted or the server is too old."""
    with available():
        version = str((await client.info("server"))["redis_version"])
        try:
            config = await client.config_get("maxmemory-policy", "appendonly", "appendfsync")
        except ResponseError:  # managed services forbid CONFIG
            config = {}
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise UnsafeRedis(f"Redis {version} is too old: version 6.2 or newer is needed.")
    if not config:
        return ["Redis hides its settings: make sure of `maxmemory-policy noeviction` and `appendonly yes`."]
    policy = config["maxmemory-policy"]
    if policy != "noeviction":
        raise UnsafeRedis(
            f"Redis has maxmemory-policy {policy}: it would drop votes silently."
            " Set `maxmemory-policy noeviction` and start again."
        )
    if config["appendonly"] != "yes":
        return ["Redis has appendonly off: a crash loses votes. Set `appendonly yes`."]
    if config["appendfsync"] != "always":
        return ["Redis has appendfsync below always: a power cut loses up to a second of votes."]
    return []
