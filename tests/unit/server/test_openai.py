"""The OpenAI-compatible endpoint, through OpenAI's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming

from server.openai_shapes import TAKEN_AND_IGNORED, UNSUPPORTED, CompletionIn
from tests.fakes import Script
from tests.present import present

pytestmark = pytest.mark.anyio
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def client(heed: Any, ann: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    key = ann.http.headers["authorization"].removeprefix("Bearer ")
    client = openai.AsyncOpenAI(base_url=f"{heed.url}/v1", api_key=key, max_retries=0)
    yield client
    await client.close()


async def test_a_whole_completion_with_usage(client: Any) -> None:
    answer = await client.chat.completions.create(model="active", messages=HI)
    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.system_fingerprint) == ("active", "v1")
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
    }


async def test_a_streamed_completion_ends_with_usage(heed: Any, client: Any) -> None:
    heed.pool.say(Script(("Grüße, ", "世界", "\n\ndata: x")))
    options = {"include_usage": True}
    stream = await client.chat.completions.create(
        model="v1", messages=HI, stream=True, stream_options=options
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Grüße, 世界\n\ndata: x"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 3
    assert heed.pool.in_flight == 0


async def test_two_choices_side_by_side(heed: Any, client: Any) -> None:
    heed.pool.say(Script(("one",)), Script(("two",)))
    answer = await client.chat.completions.create(model="active", messages=HI, n=2, seed=3)
    assert {choice.message.content for choice in answer.choices} == {"one", "two"}
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == 2
    assert [sampling.seed for _, sampling in heed.pool.clients[0].asked] == [3, 4]


async def test_what_is_asked_for_reaches_the_engine(heed: Any, client: Any) -> None:
    await client.chat.completions.create(
        model="active",
        messages=[{"role": "developer", "content": "Be brief."}, *HI],
        max_completion_tokens=7,
        temperature=0,
        top_p=0.5,
        stop="END",
        user="someone",
        metadata={"team": "blue"},
    )
    turns, sampling = heed.pool.clients[0].asked[0]
    assert [(turn.role, turn.content) for turn in turns] == [("system", "Be brief."), ("user", "Hi")]
    asked = {"max_tokens": 7, "temperature": 0.0, "top_p": 0.5, "stop": ("END",)}
    assert sampling.model_dump(exclude_defaults=True) == asked


async def test_an_unknown_field_is_named(client: Any) -> None:
    extra = {"chat_template": "{{ evil }}", "add_generation_prompt": False}
    with pytest.raises(openai.BadRequestError, match="'add_generation_prompt', 'chat_template'") as caught:
        await client.chat.completions.create(model="active", messages=HI, extra_body=extra)
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "add_generation_prompt")


def test_every_parameter_of_openais_client_is_taken_or_refused_by_name() -> None:
    ours = {*CompletionIn.model_fields, *UNSUPPORTED, *TAKEN_AND_IGNORED}
    assert CompletionCreateParamsStreaming.__annotations__.keys() - ours == set()


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_heed_does_not_do_is_refused_by_name(client: Any, name: str) -> None:
    with pytest.raises(openai.BadRequestError, match=f"^.*{name}: ") as caught:
        await client.chat.completions.create(model="active", messages=HI, extra_body={name: {"type": "x"}})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", name)


async def test_an_answer_can_be_sent_back_as_it_came(heed: Any, client: Any) -> None:
    answer = await client.chat.completions.create(model="active", messages=HI)
    again = [*HI, answer.choices[0].message, {"role": "user", "content": [{"type": "text", "text": "More"}]}]
    await client.chat.completions.create(
        model="active", messages=again, tools=[], response_format={"type": "text"}
    )
    turns, _ = heed.pool.clients[0].asked[1]
    assert [turn.content for turn in turns] == ["Hi", "Hello there", "More"]


async def test_the_version_that_answered_is_told(client: Any) -> None:
    for stream in (False, True):
        raw = await client.chat.completions.with_raw_response.create(
            model="active", messages=HI, stream=stream
        )
        assert raw.headers["x-heed-version"] == "v1"
        assert raw.headers["x-request-id"].startswith("req_")


async def test_an_unknown_model_is_404_in_openais_shape(client: Any) -> None:
    for model in ("v9", "gpt-5", "v" + "9" * 400):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model=model, messages=HI)
        assert caught.value.code == "model_not_found"
        assert caught.value.type == "invalid_request_error"


async def test_a_wrong_key_is_401_in_openais_shape(heed: Any) -> None:
    client = openai.AsyncOpenAI(base_url=f"{heed.url}/v1", api_key="heed_sk_wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        await client.models.list()
    assert caught.value.code == "invalid_api_key"
    await client.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 9},
        {"temperature": "hot"},
        {"messages": []},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
            ]
        },
        {"max_tokens": 0},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"seed": 2**70},
        {"top_logprobs": 3},
        {"logit_bias": {"5": 101}},
        {"frequency_penalty": 2.1},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stream_options": {"x": 1}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_a_wrong_field_is_400_and_named(client: Any, wrong: dict[str, Any]) -> None:
    body = {"model": "active", "messages": HI, **wrong}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert present(caught.value.param).startswith(next(iter(wrong)))


async def test_a_wrong_part_of_a_message_is_named_by_its_place(client: Any) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "http://x"}}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="active", messages=[{"role": "user", "content": parts}])
    assert caught.value.param == "messages[0].content[1].type"


async def test_a_prompt_beyond_the_context_says_so(client: Any) -> None:
    messages = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="active", messages=messages)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


async def test_without_an_engine_it_is_503_with_retry_after(heed: Any, client: Any) -> None:
    heed.pool.go_down()
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="active", messages=HI, stream=stream)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_an_engine_that_breaks_off_ends_the_stream_with_an_error(heed: Any, client: Any) -> None:
    heed.pool.say(Script(("half",), fails=True), Script((), fails=True))
    stream = await client.chat.completions.create(model="active", messages=HI, stream=True)
    seen = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
    assert seen == ["", "half"]
    with pytest.raises(openai.APIError, match="broke off"):
        await anext(stream)


async def test_an_engine_that_fails_at_once_twice_is_503(heed: Any, client: Any) -> None:
    heed.pool.say(*(Script((), fails=True) for _ in range(2)))
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="active", messages=HI, stream=True)
    assert heed.pool.in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_its_generation(heed: Any, ann: Any, stream: bool) -> None:
    heed.pool.say(Script(("begun",), hangs=True))
    body = {"model": "active", "messages": HI, "stream": stream}
    request = ann.http.build_request("POST", "/v1/chat/completions", json=body)
    if stream:
        response = await ann.http.send(request, stream=True)
        await anext(response.aiter_lines())
        await response.aclose()
    else:
        task = asyncio.create_task(ann.http.send(request))
        while not heed.pool.in_flight:
            await asyncio.sleep(0.01)
        task.cancel()
    async with asyncio.timeout(1):
        while heed.pool.in_flight:
            await asyncio.sleep(0.01)
    assert heed.pool.clients[0].aborted == 1


async def test_models_lists_what_is_served(client: Any) -> None:
    assert [model.id async for model in client.models.list()] == ["active", "v1"]
    assert (await client.models.retrieve("active")).root == "v1"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("canary")
    assert caught.value.code == "model_not_found"


async def test_unknown_routes_under_v1_have_openais_shape(ann: Any) -> None:
    response = await ann.call("GET", "/v1/nothing")
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
