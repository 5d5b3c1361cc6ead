"""Fixtures of the server's tests: a running server and people at it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.settings import ServerSettings
from tests.fakes import ScriptedPool
from tests.running import Heed, Person, serving


@pytest.fixture(autouse=True)
def fresh_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine any figure is dear, and the one before would be shown for a while."""
    monkeypatch.setattr("server.statistics.DEAR_S", math.inf)


@pytest.fixture
def settings(redis_url: str, volume: Path) -> ServerSettings:
    config = volume / "config.toml"
    config.write_text("[schedule]\nmin_votes = 3\n")
    return ServerSettings(data=volume, redis_url=redis_url, config=config, web=volume / "dist")


@pytest.fixture
async def heed(settings: ServerSettings) -> AsyncIterator[Heed]:
    async with serving(settings, ScriptedPool(1)) as running:
        yield running


@pytest.fixture
async def ann(heed: Heed) -> Person:
    """An annotator."""
    return await heed.person("ann")


@pytest.fixture
async def admin(heed: Heed) -> Person:
    return await heed.person("admin", "admin")
