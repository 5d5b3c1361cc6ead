"""The connection to Redis: fast refusal when it is away, refusal of a server that would lose votes."""

from __future__ import annotations

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


class StoreUnavailable(Exception):
    """Redis cannot take or give state right now; nothing was acknowledged. Try again soon."""


class UnsafeRedis(Exception):
    """This Redis could drop votes; the message names the setting and the remedy."""


def connect(redis_url: str) -> Redis:
    """A client that fails within seconds: redis-py's own retries would hold a voter for 3 to 4 s."""
    return redis.asyncio.Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=8,  # above the 5 s of a blocking read
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def available() -> Iterator[None]:
    """Turn Redis being away, loading, full or read-only into StoreUnavailable."""
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, OutOfMemoryError, ReadOnlyError) as error:
        raise StoreUnavailable(f"Redis is not available: {error}") from error
    except ResponseError as error:
        if str(error).startswith(("MISCONF", "OOM", "LOADING")):
            raise StoreUnavailable(f"Redis refuses writes: {error}") from error
        raise


async def check_durable(client: Redis) -> list[str]:
    """Warnings about durability; raises UnsafeRedis when keys could be evicted."""
    with available():
        config = await client.config_get("maxmemory-policy", "appendonly", "appendfsync")
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise UnsafeRedis(
            f"Redis has maxmemory-policy {policy}: it would drop votes silently."
            " Set `maxmemory-policy noeviction` and start again."
        )
    warnings = []
    if config.get("appendonly") != "yes":
        warnings.append("Redis has appendonly off: a crash loses votes. Set `appendonly yes`.")
    elif config.get("appendfsync") != "always":
        warnings.append("Redis has appendfsync below always: a power cut loses up to a second of votes.")
    return warnings
