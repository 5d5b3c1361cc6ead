"""Rolling back from the command line: real Redis and files; a task plays the servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scripts.console import Problem
from scripts.rollback import roll_back
from store.artifacts import seal
from store.audit import Audit
from store.connection import connect
from store.policies import Policies
from store.records import PolicyVersion, now
from tests.stub_trainer import LM_HEAD, write_weights

pytestmark = pytest.mark.anyio


@pytest.fixture
async def policies(redis_url: str, volume: Path) -> AsyncIterator[Policies]:
    """v2 is active, v1 was before."""
    redis = connect(redis_url)
    policies = Policies(redis, volume)
    for number in (1, 2):
        write_weights(volume / f"made-{number}", LM_HEAD)
        digest = seal(volume / f"made-{number}", volume / "policies" / f"v000{number}", {})
        await policies.register(
            PolicyVersion(number=number, folder=f"v000{number}", sha256=digest, created_at=now())
        )
    await policies.activate(1, "setup", "base", expected=None)
    await policies.activate(2, "release", "passed", expected=1)
    yield policies
    await redis.aclose()


async def serve(policies: Policies) -> None:
    while True:
        active = await policies.active()
        assert active is not None
        await policies.report_serving("server", active.number)
        await asyncio.sleep(0.01)


async def test_it_goes_back_and_waits_until_it_is_served(policies: Policies, redis_url: str) -> None:
    serving = asyncio.create_task(serve(policies))
    took = await roll_back(policies, "it swears")
    serving.cancel()
    assert took is not None
    assert took < 5
    states = {one.number: (one.state, one.reason) for one in await policies.versions()}
    assert states == {1: ("active", None), 2: ("rolled_back", "it swears")}
    redis = connect(redis_url)
    event = (await Audit(redis).newest())[0]
    await redis.aclose()
    assert (event.action, event.before, event.after, event.reason) == ("rollback", "v2", "v1", "it swears")
    assert "@" in event.actor


async def test_a_check_moves_nothing(policies: Policies, capsys: Any) -> None:
    assert await roll_back(policies, "really?", check_only=True) is None
    active = await policies.active()
    assert active is not None
    assert active.number == 2
    assert capsys.readouterr().out == "v1 is sound, to be loaded; v2 is active\n"


async def test_a_version_with_a_changed_file_stays_away(policies: Policies, volume: Path) -> None:
    weights = next((volume / "policies" / "v0001").glob("*.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(Problem, match=r"v1 could not serve: .* v2 stays active"):
        await roll_back(policies, "it swears")


async def test_with_nothing_before_it_says_so(policies: Policies, volume: Path, redis_url: str) -> None:
    await policies.rollback("ann", "first")
    command = [sys.executable, "-m", "scripts.rollback", "again"]
    where = {"HEED_DATA": str(volume), "HEED_REDIS_URL": redis_url, "PATH": "/usr/bin:/bin"}
    done = await asyncio.to_thread(subprocess.run, command, env=where, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("heed: no version was active before this one: there is nothing to go back to\n")
