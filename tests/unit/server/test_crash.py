"""Engines killed with kill -9 under the whole server: answers go on elsewhere, or end with what they said."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from server.settings import ServerSettings
from store.connection import connect
from tests.running import Heed, Person, serving
from tests.unit.server.engines.conftest import Site, home  # noqa: F401

pytestmark = pytest.mark.anyio
WORDS = 60
WHOLE = "v0001 " * WORDS
SAMPLING = {"max_tokens": WORDS}


class Engine:
    """A fake vLLM in a process of its own, on version 1."""

    def __init__(self, home: Path, number: int) -> None:  # noqa: F811
        self.name = f"engine-{number}"
        self.socket = home / f"{self.name}.sock"
        self.root = home / "policies" / "v0001"
        self.start()

    def start(self) -> None:
        script = Path(__file__).parents[2] / "fake_vllm.py"
        self.process = subprocess.Popen([sys.executable, str(script), str(self.socket), str(self.root)])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Floor:
    """A server with its reconciler over engines that can be killed, and a person at it."""

    def __init__(self, heed: Heed, ann: Person, engines: list[Engine]) -> None:
        self.heed = heed
        self.ann = ann
        self.engines = engines

    async def ready(self, count: int) -> float:
        """Wait until so many engines are ready; for how long."""
        return await self.until(lambda: self._ready() == count)

    async def until(self, condition: Callable[[], Any]) -> float:
        began = time.monotonic()
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)
        return time.monotonic() - began

    def _ready(self) -> int:
        return sum(engine.state == "ready" for engine in self.heed.parts.pool.engines)

    def under_way(self) -> int:
        return sum(len(engine.leases) for engine in self.heed.parts.pool.engines)

    def speaking(self) -> Engine:
        """The engine that speaks most."""
        busy = max(self.heed.parts.pool.engines, key=lambda engine: len(engine.leases))
        return next(engine for engine in self.engines if engine.name == busy.name)

    async def answers(self, turn: Any) -> list[Any]:
        return await self.heed.parts.conversations.answers(turn["conversation"])


@pytest.fixture
async def floor(
    home: Path,  # noqa: F811
    redis_url: str,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Floor]:
    redis = connect(redis_url)
    site = Site(home, redis)
    await site.publish(1)
    await site.policies.activate(1, "test", "base", expected=None)
    engines = [Engine(home, number + 1) for number in range(getattr(request, "param", 2))]
    settings = ServerSettings(
        data=home, redis_url=redis_url, engines=[f"unix://{one.socket}" for one in engines], web=home / "dist"
    )
    try:
        async with serving(settings, None) as heed:
            floor = Floor(heed, await heed.person("ann"), engines)
            await floor.ready(len(engines))
            yield floor
    finally:
        for engine in engines:
            engine.kill()
        await redis.aclose()


async def test_an_answer_goes_on_with_another_engine_of_its_version(floor: Floor) -> None:
    turn = await floor.ann.say("Hi", sampling=SAMPLING)
    await floor.ann.follow(turn["stream"], stop_at="answer.delta")
    floor.speaking().kill()
    await floor.ready(1)
    seen = await floor.ann.follow(turn["stream"])
    assert list(seen.texts().values()) == [WHOLE]
    [answer] = await floor.answers(turn)
    assert (answer.state, answer.finish_reason, answer.text) == ("finished", "length", WHOLE)
    assert (answer.policy_version, answer.versions) == (1, (1,))
    assert len(answer.continued) == 1
    assert 0 < answer.continued[0] < len(WHOLE)
    assert answer.response_tokens == WORDS


async def test_a_duel_that_went_on_elsewhere_can_be_voted_on(floor: Floor) -> None:
    turn = await floor.ann.say("Hi", mode="duel", sampling=SAMPLING)
    await floor.ann.follow(turn["stream"], stop_at="answer.delta")
    floor.speaking().kill()
    seen = await floor.ann.follow(turn["stream"])
    assert list(seen.texts().values()) == [WHOLE, WHOLE]
    assert "duel.ready" in seen.kinds()
    assert all(answer.continued for answer in await floor.answers(turn))
    assert not any(b"continued" in one for one in floor.ann.seen)
    assert (await floor.ann.vote(turn["duel"]["id"])).status_code == 201


@pytest.mark.parametrize("stream", [False, True])
async def test_an_api_client_gets_its_answer_all_the_same(floor: Floor, stream: bool) -> None:
    body = {"model": "active", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": WORDS}
    asking = asyncio.create_task(floor.ann.call("POST", "/v1/chat/completions", body | {"stream": stream}))
    await floor.until(floor.under_way)
    await asyncio.sleep(0.2)
    floor.speaking().kill()
    response = await asking
    assert response.status_code == 200
    assert response.text.count("v0001 ") == WORDS
    assert "error" not in response.text


@pytest.mark.parametrize("floor", [1], indirect=True)
async def test_without_another_engine_the_text_is_kept_and_can_be_continued(floor: Floor) -> None:
    turn = await floor.ann.say("Hi", mode="duel", sampling=SAMPLING)
    await floor.ann.follow(turn["stream"], stop_at="answer.delta")
    floor.engines[0].kill()
    seen = await floor.ann.follow(turn["stream"])
    assert "duel.ready" not in seen.kinds()
    assert {event["state"] for event in seen.events if event["type"] == "answer.end"} == {"failed"}
    halves = [answer.text for answer in await floor.answers(turn)]
    assert list(seen.texts().values()) == halves
    assert all(WHOLE.startswith(half) and 0 < len(half) < len(WHOLE) for half in halves)
    path = f"/api/v1/answers/{turn['answers'][0]['id']}/continue"
    refused = await floor.ann.call("POST", path)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1

    floor.engines[0].start()  # as the supervisor does
    await floor.ready(1)
    response = await floor.ann.call("POST", path)
    assert response.status_code == 202, response.text
    again = response.json()
    assert [answer["id"] for answer in again["answers"]] == [answer["id"] for answer in turn["answers"]]
    rest = await floor.ann.follow(again["stream"])
    assert list(rest.texts().values()) == [WHOLE, WHOLE]
    assert rest.kinds()[-2:] == ["duel.ready", "turn.end"]
    for answer, half in zip(await floor.answers(turn), halves, strict=True):
        assert (answer.state, answer.text, answer.versions) == ("finished", WHOLE, (1,))
        assert answer.continued == (len(half),)
    assert (await floor.ann.call("POST", path)).status_code == 409


async def test_the_pool_notices_an_idle_engine_that_was_killed_and_one_that_is_back(floor: Floor) -> None:
    floor.engines[1].kill()
    await floor.ready(1)
    floor.engines[1].start()
    await floor.ready(2)


async def test_what_the_template_would_change_is_not_continued(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trimmed(self: Any, tokens: Any) -> str:
        return "as a template that trims would: v0001"

    monkeypatch.setattr("server.engines.client.EngineClient.text", trimmed)
    turn = await floor.ann.say("Hi", sampling=SAMPLING)
    await floor.ann.follow(turn["stream"], stop_at="answer.delta")
    floor.speaking().kill()
    await floor.ann.follow(turn["stream"])
    [answer] = await floor.answers(turn)
    assert (answer.state, answer.continued) == ("failed", ())
    assert WHOLE.startswith(answer.text)
    assert answer.text
