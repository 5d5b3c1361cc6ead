"""The sidecar: nothing without the token, nothing beyond the list, no folder but this host's versions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from server.engines.client import EngineClient
from server.engines.sidecar import create_sidecar, worker_call
from server.errors import EngineFailed
from store.artifacts import ArtifactError
from store.records import ChatTurn, Sampling
from tests.fake_vllm import FakeVllm
from tests.unit.server.engines.conftest import Site

pytestmark = pytest.mark.anyio

TOKEN = "an engine token for tests only"
SAY = [ChatTurn(role="user", content="Hi")]


@pytest.fixture
async def remote(site: Site) -> AsyncIterator[tuple[FakeVllm, str]]:
    """An engine on version 1 behind its sidecar, and the sidecar's address."""
    await site.publish(1)
    engine = FakeVllm(site.home / "remote.sock", site.home / "policies" / "v0001")
    await engine.start()
    app = create_sidecar(engine.socket, site.home / "policies", TOKEN)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield engine, f"http://{host}:{port}"
    await runner.cleanup()
    await engine.die()


@pytest.fixture
async def client(remote: tuple[FakeVllm, str]) -> AsyncIterator[EngineClient]:
    client = EngineClient("remote", remote[1], "gpu", TOKEN)
    await client.open()
    yield client
    await client.close()


async def test_every_call_of_a_swap_passes(
    site: Site, remote: tuple[FakeVllm, str], client: EngineClient
) -> None:
    await site.publish(2)
    # The server's own volume is elsewhere: only the version's name counts.
    folder = site.home / "elsewhere" / "policies" / "v0002"
    assert await client.healthy()
    await client.label("heed-loading")
    await client.pause()
    await client.clear_kv_cache()
    await client.reload(folder)
    await client.compare(folder)
    await client.resume()
    assert (await client.greedy("Hi", 3)).token_ids == (2, 2, 2)
    assert remote[0].weights == "v0002"
    assert await client.in_flight() == 0
    assert await client.count_tokens(SAY) == 1
    assert await client.held() is None


async def test_an_answer_streams_and_ends_in_the_engine_when_it_is_closed(
    remote: tuple[FakeVllm, str], client: EngineClient
) -> None:
    engine, _ = remote
    answer = client.stream(SAY, Sampling(max_tokens=2))
    assert (await anext(answer)).text == "v0001 ", "the first word comes before the last one is said"
    await answer.aclose()
    async with asyncio.timeout(2):
        while engine.in_flight:
            await asyncio.sleep(0.01)
    engine.gate.set()
    async with aclosing(client.stream(SAY, Sampling(max_tokens=2))) as whole:
        assert [delta.finish_reason async for delta in whole][-1] == "length"


async def test_an_engine_killed_behind_its_sidecar_breaks_the_answer_off(
    remote: tuple[FakeVllm, str], client: EngineClient
) -> None:
    answer = client.stream(SAY, Sampling(max_tokens=2))
    await anext(answer)
    await remote[0].die()
    with pytest.raises(EngineFailed):
        await anext(answer)
    assert not await client.healthy()


async def test_half_an_answer_is_never_taken_for_a_whole_one(remote: tuple[FakeVllm, str]) -> None:
    engine, address = remote
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"messages": [], "max_tokens": 2, "stream": True}
    async with (
        aiohttp.ClientSession(address, headers=headers) as http,
        http.post("/v1/chat/completions", json=body) as response,
    ):
        await response.content.readline()
        await engine.die()
        with pytest.raises(aiohttp.ClientError):
            await response.read()


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1]])
async def test_nothing_without_the_token(remote: tuple[FakeVllm, str], token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(remote[1], headers=headers) as http:
        for method, path in (("GET", "/health"), ("POST", "/pause"), ("POST", "/collective_rpc")):
            async with http.request(method, path) as response:
                assert response.status == 401
    assert remote[0].calls == []
    stranger = EngineClient("remote", remote[1], "gpu", token)
    await stranger.open()
    assert not await stranger.healthy()
    assert "HEED_ENGINE_TOKEN" in stranger.why
    await stranger.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/update_weights", 404),
        ("POST", "/init_weight_transfer_engine", 404),
        ("POST", "/weight_checker", 404),
        ("POST", "/sleep", 404),
        ("GET", "/docs", 404),
        ("POST", "/health", 404),
        ("POST", "/v1/chat/completions/../../pause", 404),
        ("POST", "//pause", 404),
    ],
)
async def test_nothing_beyond_the_list(
    remote: tuple[FakeVllm, str], method: str, path: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, URL(remote[1] + path, encoded=True)) as response,
    ):
        assert response.status == status
    assert remote[0].calls == []


async def test_a_pause_keeps_the_answers_whatever_is_asked(remote: tuple[FakeVllm, str]) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(remote[1], headers=headers) as http,
        http.post("/pause?mode=abort") as response,
    ):
        assert response.status == 200  # the fake asserts mode=keep


async def test_only_calls_of_the_extension_reach_the_workers(site: Site) -> None:
    def call(**body: object) -> object:
        return json.loads(worker_call(json.dumps(body).encode(), site.home / "policies"))

    await site.publish(1)
    own = str(site.home / "policies" / "v0001")
    asked = call(
        method="reload_weights", kwargs={"weights_path": "/etc/v0001", "is_checkpoint_format": False}
    )
    assert asked == {"method": "reload_weights", "kwargs": {"weights_path": own}}
    assert call(method="clear_kv_cache", args=["x"]) == {"method": "clear_kv_cache"}
    for refused in ({"method": "execute_method"}, {"method": "__reduce__"}, {}, {"method": "reload_weights"}):
        with pytest.raises(ValueError, match=r"method|weights_path"):
            call(**refused)
    with pytest.raises(ArtifactError, match="never sealed"):
        call(method="reload_weights", kwargs={"weights_path": "../../../etc"})
    (site.home / "policies" / "v0001" / "model.safetensors").write_bytes(b"else")
    with pytest.raises(ArtifactError, match="differs from the manifest"):
        call(method="reload_weights", kwargs={"weights_path": own})
