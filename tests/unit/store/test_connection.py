"""The connection: what makes a Redis unsafe, and the server that Heed starts itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from store.connection import Redis, StoreUnavailable, UnsafeRedis, check_durable, connect
from store.embedded import NoRedisServer, find_server_binary, server_arguments

pytestmark = pytest.mark.anyio


async def test_server_that_heed_starts_is_durable(client: Redis) -> None:
    assert await check_durable(client) == []


async def test_evicting_redis_is_refused(client: Redis) -> None:
    await client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnsafeRedis, match=r"allkeys-lru.*noeviction"):
            await check_durable(client)
    finally:
        await client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(("setting", "weak", "sound"), [("appendfsync", "everysec", "always")])
async def test_less_durable_redis_is_warned_about(client: Redis, setting: str, weak: str, sound: str) -> None:
    await client.config_set(setting, weak)
    try:
        (warning,) = await check_durable(client)
        assert setting in warning
    finally:
        await client.config_set(setting, sound)


async def test_too_old_redis_is_refused(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def info(section: str) -> dict[str, str]:
        return {"redis_version": "6.0.16"}

    monkeypatch.setattr(client, "info", info)
    with pytest.raises(UnsafeRedis, match=r"6\.0\.16 is too old"):
        await check_durable(client)


@pytest.mark.parametrize("url", ["unix:///tmp/heed-nobody.sock?db=0", "redis://127.0.0.1:1/0"])
async def test_redis_that_is_not_there_is_said_quickly(url: str) -> None:
    began = time.monotonic()
    async with connect(url) as client:
        with pytest.raises(StoreUnavailable):
            await check_durable(client)
    assert time.monotonic() - began < 3


def test_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server_binary() == tmp_path / "valkey-server"


def test_server_of_the_wheel_is_found_without_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server_binary().name == "valkey-server"


def test_no_server_at_all_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoRedisServer, match="HEED_REDIS_URL"):
        find_server_binary()


def test_arguments_say_durable_and_private(tmp_path: Path) -> None:
    arguments = server_arguments(tmp_path, tmp_path / "redis.sock")
    said = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert said["--port"] == "0"
    assert said["--unixsocketperm"] == "700"
    assert said["--appendfsync"] == "always"
    assert said["--maxmemory-policy"] == "noeviction"


async def test_a_task_that_talks_to_redis_in_a_loop_ends_when_it_is_cancelled(redis_url: str) -> None:
    async with connect(redis_url) as client:

        async def ask_for_ever() -> None:
            while True:
                await client.get("nothing")

        for steps in range(60):
            task = asyncio.create_task(ask_for_ever())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=1)
            assert done, "the cancellation was lost"
