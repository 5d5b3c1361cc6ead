"""Fixture of the workers' tests: a platform with a base version."""

from __future__ import annotations

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
