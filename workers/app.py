"""The Celery app: queues `train` and `control`, RedBeat as the clock. Nothing connects at import."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery
from celery.signals import heartbeat_sent

from store.connection import StoreUnavailable, connect
from store.health import Health
from workers.settings import load_settings

BROKER_DB = 1
# Above any retrain: when it runs out, a second copy of the message is delivered to another worker.
VISIBILITY_S = 86400
BEAT_EVERY_S = 10.0

logger = logging.getLogger(__name__)


def broker_url(redis_url: str) -> str:
    """Celery's spelling of the store's Redis, database 1: `redis+socket://` for a Unix socket."""
    url = urlsplit(redis_url)
    if url.scheme != "unix":
        return url._replace(path=f"/{BROKER_DB}").geturl()
    query = {name: value for name, value in parse_qsl(url.query) if name != "db"}
    return f"redis+socket://{url.netloc}{url.path}?{urlencode(query | {'virtual_host': BROKER_DB})}"


def redbeat_url(redis_url: str) -> str:
    """RedBeat's spelling of the same: it dies at start on `redis+socket://`."""
    url = urlsplit(redis_url)
    if url.scheme != "unix":
        return broker_url(redis_url)
    query = {name: value for name, value in parse_qsl(url.query) if name != "db"}
    return f"unix://{url.netloc}{url.path}?{urlencode(query | {'db': BROKER_DB})}"


def celery_config() -> dict[str, Any]:
    """Evaluated at first use. Raises ConfigError for settings that cannot be used."""
    settings = load_settings()
    tick_s = settings.schedule.tick_s
    archive_s = settings.archive.every_s
    return {
        "broker_url": broker_url(settings.redis_url),
        "imports": ("workers.tasks",),
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "task_default_queue": "control",
        # Opinions load a model: where trainings run, and never beside one.
        "task_routes": {
            "heed.retrain": {"queue": "train"},
            "heed.opinions": {"queue": "train"},
            "heed.tick": {"queue": "control"},
            "heed.archive": {"queue": "control"},
        },
        # The run record is the result, and its attempt limit is the one that counts.
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_track_started": False,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 50,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_S,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "global_keyprefix": "heed:",
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "queue_order_strategy": "priority",
        },
        "visibility_timeout": VISIBILITY_S,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # True would kill a training when Redis is away for a moment.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # A tick ends in that time, a training never does: it goes on elsewhere from its checkpoint.
        "worker_soft_shutdown_timeout": 5,
        "worker_enable_remote_control": True,
        "worker_hijack_root_logger": False,
        "beat_scheduler": "workers.clock.Clock",
        "beat_max_loop_interval": min(5, tick_s),
        "redbeat_redis_url": redbeat_url(settings.redis_url),
        "redbeat_key_prefix": "heed:redbeat:",
        "redbeat_redis_options": {},
        "redbeat_lock_timeout": 30,
        "beat_schedule": {
            # A tick that nobody took before the next one is worth nothing.
            "tick": {"task": "heed.tick", "schedule": tick_s, "options": {"expires": tick_s}},
            "archive": {"task": "heed.archive", "schedule": archive_s, "options": {"expires": archive_s}},
        },
    }


app = Celery("heed")
app.add_defaults(celery_config)


class _Beats:
    """Tells the store every ten seconds that this worker listens, and to which queues."""

    def __init__(self) -> None:
        self._told = float("-inf")

    def __call__(self, sender: Any, **_: Any) -> None:
        if time.monotonic() - self._told < BEAT_EVERY_S:
            return
        self._told = time.monotonic()
        try:
            asyncio.run(_beat(sender.eventer.hostname, list(app.amqp.queues.consume_from)))
        except StoreUnavailable as error:
            logger.warning("beat not stored: %s", error)


async def _beat(worker: str, queues: list[str]) -> None:
    redis = connect(load_settings().redis_url)
    try:
        await Health(redis).beat(worker, queues)
    finally:
        await redis.aclose()


_beats = _Beats()
heartbeat_sent.connect(_beats)
