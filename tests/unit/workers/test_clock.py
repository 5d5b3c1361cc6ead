"""The clock ticks on after the machine's clock was set back, and after Redis was emptied."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.beat import Service
from celery.signals import beat_init

from workers.app import celery_config


@pytest.fixture
def app(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """Configured as beat is, with a tick each 100 ms."""
    (tmp_path / "heed.toml").write_text("[schedule]\ntick_s = 0.1\n[archive]\nevery_s = 60\n")
    monkeypatch.setenv("HEED_REDIS_URL", redis_url)
    monkeypatch.setenv("HEED_CONFIG", str(tmp_path / "heed.toml"))
    app = Celery("heed", set_as_current=False)
    app.conf.update(celery_config())
    return app


@pytest.fixture
def clock(app: Celery) -> Iterator[Any]:
    """The scheduler that the settings name, as beat starts it."""
    service = Service(app, scheduler_cls=app.conf.beat_scheduler)
    clock = service.scheduler
    beat_init.send(sender=service)
    yield clock
    clock.close()
    app.close()


def test_the_lock_of_a_beat_that_died_before_the_jump_ends_in_its_time(
    app: Celery, redis_server: Any
) -> None:
    store = redis.Redis(unix_socket_path=str(redis_server.socket), db=1)
    store.set("heed:redbeat::lock", "of the dead", ex=7200 + 20)
    assert Service(app, scheduler_cls=app.conf.beat_scheduler).scheduler.lock is None
    assert 28 < store.ttl("heed:redbeat::lock") <= 30
    store.expire("heed:redbeat::lock", 5)
    assert Service(app, scheduler_cls=app.conf.beat_scheduler).scheduler.lock is None
    assert store.ttl("heed:redbeat::lock") <= 5, "another beat may well be alive"


def test_a_clock_set_back_costs_one_interval(clock: Any, redis_server: Any) -> None:
    broker = redis.Redis(unix_socket_path=str(redis_server.socket), db=1)
    for name in ("tick", "archive"):
        entry = clock.Entry.from_key(f"heed:redbeat:{name}", app=clock.app)
        entry.reschedule(entry.default_now() + timedelta(hours=2))  # it ran; then the clock was set back
    sleep_s = clock.tick()
    assert (broker.llen("heed:control"), 0 < sleep_s <= 0.1) == (0, True)
    time.sleep(sleep_s + 0.01)
    clock.tick()
    assert broker.llen("heed:control") == 1, "the tick comes again"
    due_at = broker.zscore("heed:redbeat::schedule", "heed:redbeat:archive")
    assert due_at is not None
    assert 50 < due_at - time.time() <= 60, "what has a longer interval waits for that, not for two hours"


def test_a_beat_that_waited_while_redis_was_emptied_writes_its_schedule_again(
    clock: Any, redis_server: Any
) -> None:
    broker = redis.Redis(unix_socket_path=str(redis_server.socket), db=1)
    lock: Any = broker.get("heed:redbeat::lock")
    broker.flushdb()
    broker.set("heed:redbeat::lock", lock, ex=30)  # as if this beat had taken it after that
    for ticks in (1, 2):
        clock.tick()
        time.sleep(0.11)
        clock.tick()
        assert broker.llen("heed:control") == ticks
        assert broker.zcard("heed:redbeat::schedule") >= 2, "tick and archive"
        broker.delete("heed:redbeat::schedule")
