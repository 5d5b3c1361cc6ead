"""`make loop ROUNDS=3` without training: real server, workers and hot swap, a trainer that learns one thing.

From the pairs it learns whether people like short answers; the engines answer as long as they were taught to.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from scripts.loop import crowd, watch
from scripts.loop.client import Client, session
from scripts.loop.report import as_expected, text
from scripts.loop.rounds import Plan, Played, play
from server.settings import ServerSettings
from store.audit import Audit
from store.connection import StoreUnavailable, connect
from tests.fake_vllm import FakeVllm
from tests.length_trainer import words_of
from tests.running import serving
from tests.worker_parts import platform
from workers import recipe, schedule
from workers.settings import Release, WorkerSettings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TRAINER = (sys.executable, "-m", "tests.length_trainer")
CONFIG = """
[limits]
messages_per_minute = 0
votes_per_minute = 0
[schedule]
min_votes = 60
"""
PROMPTS = [f"Question {number}?" for number in range(500)]


class Speaker(FakeVllm):
    """Answers as many words as the policy that it holds was taught, give or take one."""

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        words = words_of(self.root.parent / self.weights) + random.randint(-1, 1)
        return await super()._stream(request, body | {"max_tokens": words})

    def _greedy(self, body: dict[str, Any]) -> web.Response:
        """What the gate of the stub trainer recorded."""
        logprobs = {"content": [{"logprob": -0.5}] * body["max_tokens"]}
        return web.json_response({"choices": [{"token_ids": [1, 2], "logprobs": logprobs}]})


@contextlib.asynccontextmanager
async def working(settings: WorkerSettings) -> AsyncIterator[None]:
    """The beat and the worker, as Celery runs them."""

    async def beat() -> None:
        async with asyncio.TaskGroup() as runs:
            while True:
                with contextlib.suppress(StoreUnavailable):  # on a busy machine; the next tick looks again
                    for run_id in await schedule.tick(settings):
                        runs.create_task(recipe.retrain(run_id, settings))
                await asyncio.sleep(0.2)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def heed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """A whole Heed on version 1: (address, token of the set-up link)."""
    monkeypatch.setenv("HEED_STUB", "")  # given back after the test
    # Short, because the path of a Unix socket holds at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="heed-rounds-", dir="/tmp"))
    parts = platform(redis_url, home, min_votes=60, max_pairs=25, lease_s=30)
    await parts.base()
    parts.settings.config.write_text(CONFIG)
    settings = replace(
        parts.settings,
        trainer_command=TRAINER,
        release=Release(serve_timeout_s=20, canary_share=0.8, canary_max_votes=40),
    )
    engines = [Speaker(home / f"engine-{n}.sock", home / "policies" / "v0001") for n in (1, 2)]
    for engine in engines:
        engine.gate.set()
        await engine.start()
    addresses = tuple(engine.address for engine in engines)
    served = ServerSettings(data=home, redis_url=redis_url, config=settings.config, engines=addresses)
    async with serving(served, None) as running, working(settings):
        token = await running.parts.accounts.setup_token()
        assert token is not None
        yield running.url, token
    for engine in engines:
        await engine.die()
    await parts.redis.aclose()
    shutil.rmtree(home)


async def test_three_rounds_unattended(
    heed: tuple[str, str], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.1)
    monkeypatch.setattr(crowd, "LOOK_S", 0.1)
    url, token = heed
    played = Played(Plan(rounds=3, right=0.95, flipped=2, people=4, asked=10))
    async with session() as http:
        client = Client(http, url)
        await client.sign_in(token)
        await play(client, PROMPTS, played)

    # What the votes of the second round taught was voted out, and the third went on from the good version.
    came = [(one.parent, one.version["number"], one.version["state"]) for one in played.rounds if one.version]
    assert came == [(1, 2, "active"), (2, 3, "rolled_back"), (2, 4, "active")]
    assert played.active == 4
    assert as_expected(played)

    said = text(played)
    assert "Round 2: v3 was rolled back as a canary\n  because: worse: won " in said
    assert "  v4 beats v1 in 100.0% (72.2 to 100.0), 0 ties\n  v4 beats v2 in 100.0% (72.2 to 100.0)" in said
    assert said.endswith("In the end v4 answers.")

    # Each prompt once; nobody but Heed decided anything once the people had their accounts and keys.
    redis = connect(redis_url)
    events = await Audit(redis).newest(limit=1000)
    await redis.aclose()
    by_people = {event.action for event in events if event.actor not in ("heed", "release", "votes")}
    assert by_people == {"setup", "account_created", "key_created"}
