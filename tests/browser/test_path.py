"""A person's path in a real browser against the real product, by keyboard: from the link to the export."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.started import ROOT, Heed, start_heed, stop_heed
from scripts.web import find_node

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium`"),
]


@pytest.fixture
def heed(tiny_policy: Path) -> Iterator[Heed]:
    # Short, because the path of a Unix socket holds at most 107 bytes.
    data = Path(tempfile.mkdtemp(prefix="heed-b-", dir="/tmp"))
    config = ROOT / "configs" / "tiny.toml"
    started = start_heed(data, config, HEED_MODEL=str(tiny_policy), HEED_ENGINE_COUNT="1")
    yield started
    stop_heed(started)
    shutil.rmtree(data)


def test_the_whole_loop_by_keyboard_and_some_of_it_by_mouse(heed: Heed) -> None:
    result = subprocess.run(
        [find_node(Path(sys.executable)).binary, "e2e/path.mjs"],
        cwd=ROOT / "webui",
        env=os.environ
        | {
            "BASE_URL": heed.url,
            "SETUP_LINK": f"{heed.url}/setup#token={heed.token}",
            "CHROMIUM": str(CHROMIUM),
            "ANSWER_TIMEOUT_S": "240",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout, result.stderr
    seen = json.loads(result.stdout)
    assert seen["ok"], json.dumps(seen, indent=2)
    steps = {step["name"]: step for step in seen["steps"]}
    assert list(steps)[-4:] == ["roll-back", "explorer", "export", "by-mouse"]
    assert any("v1" in line for line in steps["vote-by-key"]["verdict"])
    assert "v2" in steps["swap-seen-live"]["strip"]
    assert "Votes" in steps["explorer"]["focusAfterSearch"], "out of the search field one is in the list"
    assert (steps["export"]["file"].endswith(".zip"), steps["export"]["failure"]) == (True, None)
