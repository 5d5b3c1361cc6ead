"""The OpenAI-compatible endpoint down to the engine's HTTP: what vLLM is asked, what its stream becomes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from server.engines.client import EngineClient
from server.engines.pool import EnginePool
from server.settings import ServerSettings
from store.records import PolicyVersion, now
from tests.fake_vllm import FakeVllm
from tests.running import serving

pytestmark = pytest.mark.anyio
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def engine() -> AsyncIterator[FakeVllm]:
    # A Unix socket's path holds at most 107 bytes: pytest's own folders are too deep.
    home = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    engine = FakeVllm(home / "engine-1.sock", home / "v0001")
    engine.gate.set()
    await engine.start()
    yield engine
    await engine.die()
    shutil.rmtree(home)


@pytest.fixture
async def client(engine: FakeVllm, settings: ServerSettings) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client at the real server over a real pool."""
    pool = EnginePool([EngineClient("engine-1", engine.address)], max_model_len=2048, places=64)
    await pool.open()
    pool.engines[0].alive = True
    pool.holds(
        pool.engines[0], PolicyVersion(number=1, folder="v0001", sha256="", created_at=now()), engine.root
    )
    async with serving(settings, pool) as heed:
        person = await heed.person("ann")
        key = person.http.headers["authorization"].removeprefix("Bearer ")
        client = openai.AsyncOpenAI(base_url=f"{heed.url}/v1", api_key=key, max_retries=0)
        yield client
        await client.close()
    await pool.close()


async def test_every_parameter_reaches_vllm_and_no_other(engine: FakeVllm, client: Any) -> None:
    await client.chat.completions.create(
        model="active",
        messages=HI,
        max_completion_tokens=3,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=["END", "STOP"],
        frequency_penalty=0.25,
        presence_penalty=-0.5,
        logit_bias={"5": -100},
        logprobs=True,
        top_logprobs=2,
        response_format={"type": "json_object"},
        user="someone",
        metadata={"team": "blue"},
        extra_body={"ignore_eos": True},
    )
    assert engine.bodies == [
        {
            "model": "policy",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 3,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["END", "STOP"],
            "frequency_penalty": 0.25,
            "presence_penalty": -0.5,
            "logit_bias": {"5": -100},
            "logprobs": True,
            "top_logprobs": 2,
            "response_format": {"type": "json_object"},
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_what_is_not_asked_for_is_not_sent(engine: FakeVllm, client: Any) -> None:
    await client.chat.completions.create(model="active", messages=HI, max_tokens=2)
    optional = {
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "logprobs",
        "response_format",
        "ignore_eos",
    }
    assert not optional & engine.bodies[0].keys()


@pytest.mark.parametrize("n", [1, 3])
async def test_logprobs_come_whole_and_streamed(client: Any, n: int) -> None:
    ask = {"model": "active", "messages": HI, "max_tokens": 2, "logprobs": True, "top_logprobs": 1, "n": n}
    whole = await client.chat.completions.create(**ask)
    streamed: dict[int, list[str]] = {}
    async for chunk in await client.chat.completions.create(**ask, stream=True):
        for choice in chunk.choices:
            if choice.logprobs:
                streamed.setdefault(choice.index, []).extend(one.token for one in choice.logprobs.content)
    for choice in whole.choices:
        tokens = [one.token for one in choice.logprobs.content]
        assert tokens == streamed[choice.index] == ["v0001", "v0001"]
        assert [len(one.top_logprobs) for one in choice.logprobs.content] == [1, 1]
    assert whole.usage.completion_tokens == 2 * n
    assert whole.usage.prompt_tokens == 3


async def test_half_a_letter_has_a_log_probability_too(engine: FakeVllm, client: Any) -> None:
    engine.half_letters = {1}
    engine.gate.clear()
    ask = {"model": "active", "messages": HI, "max_tokens": 2, "logprobs": True, "top_logprobs": 1}
    said: list[tuple[str, int]] = []
    async for chunk in await client.chat.completions.create(**ask, stream=True):
        for choice in chunk.choices:
            if choice.logprobs:
                said.append((choice.delta.content, len(choice.logprobs.content)))
                engine.gate.set()
    assert said == [("v0001 ", 1), ("", 1)]


async def test_a_token_that_the_model_does_not_have_is_the_callers_fault(client: Any) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                model="active", messages=HI, logit_bias={1000: 1}, stream=stream
            )
        assert caught.value.param == "logit_bias"


async def test_choices_have_seeds_of_their_own(engine: FakeVllm, client: Any) -> None:
    answer = await client.chat.completions.create(model="v1", messages=HI, max_tokens=1, n=4, seed=10)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert sorted(body["seed"] for body in engine.bodies) == [10, 11, 12, 13]


async def test_a_streamed_answer_equals_the_whole_one(client: Any) -> None:
    ask = {"model": "active", "messages": HI, "max_tokens": 40}
    whole = await client.chat.completions.create(**ask)
    chunks = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.system_fingerprint for chunk in chunks} == {"v1"}


async def test_an_engine_killed_in_mid_stream_ends_it_with_an_error(engine: FakeVllm, client: Any) -> None:
    engine.gate.clear()
    stream = await client.chat.completions.create(model="active", messages=HI, stream=True)
    assert (await anext(stream)).choices[0].delta.role == "assistant"
    assert (await anext(stream)).choices[0].delta.content == "v0001 "
    await engine.die()
    with pytest.raises(openai.APIError, match="broke off") as caught:
        await anext(stream)
    assert caught.value.code == "engine_unavailable"


async def test_a_client_that_leaves_ends_the_answer_in_the_engine(engine: FakeVllm, client: Any) -> None:
    engine.gate.clear()
    stream = await client.chat.completions.create(model="active", messages=HI, stream=True, n=2)
    await anext(stream)
    assert engine.in_flight == 2
    await stream.close()
    async with asyncio.timeout(1):
        while engine.in_flight:
            await asyncio.sleep(0.01)
