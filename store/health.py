"""How the parts behind the server are: Redis itself, the queues, the workers' beats, the last tick."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from store import keys
from store.connection import Redis, available
from store.records import Record, RedisHealth, WorkerBeat, now

BEAT_TTL_S = 35
QUEUES = ("train", "control")
BROKER_DB = 1
"""Where the workers keep their queues, beside the store (`workers/app.py`)."""


class ArchivePass(Record):
    """How the archive's last pass went."""

    at: datetime
    error: str | None = None


class Health:
    """Reads and writes what the System page shows. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def beat(self, worker: str, queues: Sequence[str]) -> None:
        """A worker says that it listens; repeat within 30 s."""
        beat = WorkerBeat(name=worker, queues=tuple(queues), at=now())
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.sadd(keys.WORKERS, worker)
                pipe.set(keys.worker(worker), beat.model_dump_json(), ex=BEAT_TTL_S)
                await pipe.execute()

    async def workers(self) -> list[WorkerBeat]:
        """The workers that listened within the last half minute."""
        with available():
            names = sorted(await self._redis.smembers(keys.WORKERS))
            texts = await self._redis.mget([keys.worker(name) for name in names]) if names else []
        return [WorkerBeat.model_validate_json(text) for text in texts if text]

    async def tick(self) -> None:
        """The schedule was looked at just now."""
        with available():
            await self._redis.set(keys.LAST_TICK, now().isoformat())

    async def last_tick(self) -> datetime | None:
        with available():
            text = await self._redis.get(keys.LAST_TICK)
        return datetime.fromisoformat(text) if text else None

    async def archived(self, error: str | None) -> None:
        """Say how a pass of the archive went just now."""
        with available():
            last = ArchivePass(at=now(), error=error)
            await self._redis.set(keys.ARCHIVE_PASS, last.model_dump_json())

    async def last_archived(self) -> ArchivePass | None:
        """How the archive's last pass went; None before the first."""
        with available():
            text = await self._redis.get(keys.ARCHIVE_PASS)
        return ArchivePass.model_validate_json(text) if text else None

    async def queues(self) -> dict[str, int] | None:
        """Messages that wait in each queue; None where the broker's database cannot be read."""
        pool = self._redis.connection_pool
        settings = pool.connection_kwargs | {"db": BROKER_DB}
        client = redis.asyncio.Redis.from_pool(
            redis.asyncio.ConnectionPool(connection_class=pool.connection_class, **settings)
        )
        try:
            return {name: int(await client.llen(f"heed:{name}")) for name in QUEUES}
        except RedisError:
            return None
        finally:
            await client.aclose()

    async def redis(self) -> RedisHealth:
        """Redis in numbers. `config` is empty where a managed service hides it."""
        with available():
            began = time.perf_counter()
            await self._redis.ping()
            ping_ms = (time.perf_counter() - began) * 1000
            info: dict[str, Any] = await self._redis.info()
            seconds, microseconds = await self._redis.time()
            config: dict[str, str] = {}
            with suppress(ResponseError):
                config = await self._redis.config_get("maxmemory-policy", "appendonly", "appendfsync")
        skew = datetime.fromtimestamp(seconds + microseconds / 1e6, tz=UTC) - now()
        return RedisHealth(
            version=str(info["redis_version"]),
            uptime_s=int(info["uptime_in_seconds"]),
            ping_ms=ping_ms,
            clock_skew_s=skew.total_seconds(),
            appendonly=config.get("appendonly"),
            appendfsync=config.get("appendfsync"),
            maxmemory_policy=config.get("maxmemory-policy"),
            aof_write_ok=info.get("aof_last_write_status", "ok") == "ok",
            memory_bytes=int(info["used_memory"]),
            maxmemory_bytes=int(info.get("maxmemory", 0)),
            aof_bytes=int(info["aof_current_size"]) if "aof_current_size" in info else None,
            clients=int(info["connected_clients"]),
            blocked_clients=int(info.get("blocked_clients", 0)),
        )
