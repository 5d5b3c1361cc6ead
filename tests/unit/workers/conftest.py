"""Fixtures of the workers' tests: a platform with a base version, and servers that serve what is active."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker_parts import Platform, platform


@pytest.fixture
async def heed(redis_url: str, volume: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    monkeypatch.setenv("HEED_STUB", "")  # given back after the test
    parts = platform(redis_url, volume)
    await parts.base()
    yield parts
    await parts.redis.aclose()


@pytest.fixture
async def serving(heed: Platform) -> AsyncIterator[None]:
    """Two servers, as long as the test."""
    servers = asyncio.create_task(heed.serve())
    yield
    servers.cancel()
    await asyncio.gather(servers, return_exceptions=True)
