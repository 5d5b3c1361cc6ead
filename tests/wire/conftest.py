"""What the tests of real engines share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine_parts import publish_all


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A volume with a tiny model's versions: what `tests/engine_parts.py` publishes."""
    # A Unix socket's path holds at most 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    publish_all(folder)
    yield folder
    shutil.rmtree(folder)
