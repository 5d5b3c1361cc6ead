"""A server killed with kill -9 under its answers: as soon as it is back they are told to be over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from store import keys
from tests.conftest import RedisServer
from tests.unit.server.engines.conftest import home  # noqa: F401
from tests.unit.server.test_crash import Floor, floor  # noqa: F401

pytestmark = pytest.mark.anyio
SLOW = {"max_tokens": 400}
"""Eight seconds of words."""


class Replica:
    """A second server of the same site, in a process of its own."""

    def __init__(self, floor: Floor) -> None:  # noqa: F811
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = floor.heed.parts.settings
        self.url = f"http://127.0.0.1:{port}"
        self._environment = os.environ | {
            "HEED_DATA": str(settings.data),
            "HEED_REDIS_URL": settings.redis_url,
            "HEED_ENGINES": ",".join(settings.engines),
            "HEED_PORT": str(port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        silent = subprocess.DEVNULL
        command = [sys.executable, "-m", "server"]
        self.process = subprocess.Popen(command, env=self._environment, stdout=silent, stderr=silent)

    async def ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.url) as http, asyncio.timeout(30):
            while True:
                with suppress(httpx.HTTPError):
                    if (await http.get("/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
async def replica(floor: Floor) -> AsyncIterator[Replica]:  # noqa: F811
    replica = Replica(floor)
    replica.start()
    await replica.ready()
    yield replica
    replica.kill()


async def test_what_a_killed_server_said_is_over_when_it_is_back(
    floor: Floor,  # noqa: F811
    replica: Replica,
    redis_server: RedisServer,
) -> None:
    heed = floor.heed
    bob = await heed.person("bob")
    bob.http.base_url = httpx.URL(replica.url)
    lost = await bob.say("Hi", sampling=SLOW)
    await bob.follow(lost["stream"], stop_at="answer.delta")
    kept = await floor.ann.say("Hi", sampling=SLOW)
    replica.kill()
    replica.start()
    await replica.ready()
    holder = redis_server.client().get(keys.generation(kept["answers"][0]["id"]))
    assert holder == heed.parts.presence.name.encode(), "a server that lives keeps what it speaks"
    began = time.monotonic()
    seen = await bob.follow(lost["stream"])
    assert time.monotonic() - began < 5, "told when its hold had run out"
    assert [event["state"] for event in seen.events if event["type"] == "answer.end"] == ["failed"]
    assert (await bob.call("POST", f"/api/v1/answers/{lost['answers'][0]['id']}/continue")).status_code == 202
    await floor.ann.call("POST", f"/api/v1/answers/{kept['answers'][0]['id']}/stop")
    seen = await floor.ann.follow(kept["stream"])
    assert [event["state"] for event in seen.events if event["type"] == "answer.end"] == ["stopped"]
