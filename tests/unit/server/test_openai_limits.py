"""OpenAI's client at a full server: 429 with Retry-After, which its own retry honours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from server import admission
from server.settings import ServerSettings
from tests.fakes import ScriptedPool
from tests.running import Heed, serving

pytestmark = pytest.mark.anyio
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def heed(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heed]:
    """A server where a person has one answer at a time, and one request of all may wait."""
    monkeypatch.setattr(admission, "RETRY_S", 1)
    settings.config.write_text("[queue]\nper_user = 1\nlength = 1\n")
    async with serving(settings, ScriptedPool(1)) as running:
        yield running


def client_of(heed: Heed, person: Any, retries: int) -> openai.AsyncOpenAI:
    key = person.http.headers["authorization"].removeprefix("Bearer ")
    return openai.AsyncOpenAI(base_url=f"{heed.url}/v1", api_key=key, max_retries=retries)


async def test_a_full_queue_is_429_and_the_clients_retry_waits(heed: Heed) -> None:
    ann = await heed.person("ann")
    held = await heed.pool.lease(user=ann.account_id)
    async with client_of(heed, ann, 0) as hasty, client_of(heed, ann, 2) as patient:
        waits = asyncio.create_task(hasty.chat.completions.create(model="active", messages=HI))
        while not heed.parts.admission.length:
            await asyncio.sleep(0.01)
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as caught:
                await hasty.chat.completions.create(model="active", messages=HI, stream=stream)
            assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
            assert caught.value.response.headers["retry-after"] == "1"
        began = time.monotonic()
        retries = asyncio.create_task(patient.chat.completions.create(model="active", messages=HI))
        await asyncio.sleep(0.2)
        await held.release()
        assert (await waits).choices[0].message.content == "Hello there"
        assert (await retries).choices[0].message.content == "Hello there"
        assert time.monotonic() - began >= 1
