"""One real engine: swapped under its streams, caught with other weights, ends answers that are stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import openai
import pytest
from aiohttp import web
from safetensors.torch import load_file, save_file

from server.engines import moves
from server.engines.client import Delta, EngineClient, OtherWeights
from server.engines.pool import EnginePool
from server.engines.sidecar import create_sidecar
from server.settings import ServerSettings
from store.records import ChatTurn, Fingerprint, GateReport, PolicyVersion, Sampling, now
from tests.engine_parts import (
    LONG,
    OVERFLOWING,
    PROMPTS,
    SAY,
    Process,
    Site,
    running,
    serving,
    started,
    until_stopped,
)
from tests.openai_parameters import ask_everything
from tests.running import serving as serving_people

# Engines start on two cores that other tests may use too.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def processes(home: Path) -> Iterator[list[Process]]:
    """An engine on version 1, started once."""
    with started(home, "engine-1") as engines:
        yield engines


@pytest.fixture
async def lone(home: Path, processes: list[Process], redis_url: str) -> AsyncIterator[Site]:
    """A server that knows this engine only, on version 1."""
    async with serving(home, processes, redis_url) as site:
        yield site


async def test_prompts_with_seeds_do_not_end_the_engine(lone: Site) -> None:
    """vLLM 0.32 on CPU dies of a request with a seed whose prompt is prefilled in chunks."""

    async def answer(seed: int) -> Delta:
        lease = await lone.pool.lease(user="me")
        turns = [ChatTurn(role="user", content=chr(97 + seed) + "x" * 1500)]
        sampling = Sampling(max_tokens=4, seed=seed)
        deltas = [delta async for delta in lone.pool.stream(lease, turns, sampling)]
        await lease.release()
        return deltas[-1]

    assert all(end.response_tokens for end in await asyncio.gather(*map(answer, range(8))))


async def test_a_lone_engine_is_swapped_under_its_streams(lone: Site) -> None:
    old = await lone.said()
    lease = await lone.pool.lease(user="me")
    stop = asyncio.Event()
    asking = [asyncio.create_task(until_stopped(lone, stop, Sampling(max_tokens=40))) for _ in range(3)]
    long = lone.pool.stream(lease, SAY, Sampling(max_tokens=400))
    await anext(long)
    await lone.activate(2)
    settling = asyncio.create_task(lone.settled(on=2))
    deltas = [delta async for delta in long]
    await settling
    stop.set()
    answers = [said for answers in await asyncio.gather(*asking) for said in answers]
    assert deltas[-1].finish_reason in ("stop", "length")
    assert lease.versions == (1, 2)
    assert all(said.end.finish_reason in ("stop", "length") for said in answers)
    await lease.release()
    assert all(a != b for a, b in zip(await lone.said(), old, strict=True))
    await lone.policies.rollback("test", "worse")
    await lone.settled(on=1)
    assert await lone.said() == old


async def test_an_engine_behind_its_sidecar_is_swapped_like_any_other(
    home: Path, processes: list[Process], redis_url: str
) -> None:
    token = "an engine token for tests only"
    socket = Path(processes[0].address.removeprefix("unix://"))
    runner = web.AppRunner(create_sidecar(socket, home / "policies", token), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    remote = serving(home, processes, redis_url)
    client = EngineClient("far", f"http://{host}:{port}", "gpu0", token)
    remote.site.pool = EnginePool([client], max_model_len=2048, places=64)
    remote.site.pool.drives = True
    async with remote as site:
        old = await site.said()
        lease = await site.pool.lease(user="me")
        answer = site.pool.stream(lease, SAY, Sampling(max_tokens=200))
        await anext(answer)
        await site.activate(2)
        settling = asyncio.create_task(site.settled(on=2))
        deltas = [delta async for delta in answer]
        await settling
        assert deltas[-1].finish_reason in ("stop", "length")
        assert all(a != b for a, b in zip(await site.said(), old, strict=True))
        await lease.release()
        await site.policies.rollback("test", "worse")
        await site.settled(on=1)
        assert await site.said() == old
    await runner.cleanup()


async def test_an_engine_whose_load_left_an_old_tensor_is_found_out(lone: Site) -> None:
    """What an engine holds is compared with the file: packed, fused and plain weights alike."""
    client = lone.pool.engines[0].client
    for number in (1, 2):
        folder = lone.home / "policies" / f"v{number:04d}"
        await client.pause()
        await client.reload(folder)
        await client.compare(folder)
        await client.resume()
        answer = await client._call(
            "POST", "/collective_rpc", {"method": "compare_weights", "kwargs": {"weights_path": str(folder)}}
        )
        names = set(load_file(folder / "model.safetensors"))
        fused = sum(name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")) for name in names)
        assert answer["results"][0]["compared"] >= len(names) - fused - 1, "all but a tied head"
    for change in ("mlp.down_proj", "self_attn.k_proj", "mlp.up_proj", "input_layernorm", "embed_tokens"):
        other = lone.home / f"other-{change}"
        other.mkdir()
        weights = load_file(lone.home / "policies" / "v0002" / "model.safetensors")
        name = next(name for name in weights if change in name)
        weights[name] = weights[name] + 0.5
        save_file(weights, other / "model.safetensors")
        with pytest.raises(OtherWeights, match=r"layers\.0|embed_tokens"):
            await client.compare(other)
    await client.pause()
    await client.reload(lone.home / "policies" / "v0001")
    await client.resume()
    assert await lone.said()


async def test_weights_that_compute_nan_leave_no_trace(lone: Site) -> None:
    old = await lone.said()
    await lone.activate(OVERFLOWING)
    await moves.settle(lone.pool, lone.policies)
    refused = await lone.policies.get(OVERFLOWING)
    assert refused is not None
    assert refused.state == "rejected"
    assert "not finite" in (refused.reason or "")
    await lone.settled(on=1)
    assert await lone.said() == old


async def test_an_engine_that_says_what_the_version_would_not_is_refused(lone: Site) -> None:
    """As one that was reloaded without effect would."""
    said = await lone.said()
    stale = tuple(
        Fingerprint(prompt=prompt, token_ids=ids) for prompt, ids in zip(PROMPTS, said, strict=True)
    )
    report = GateReport(passed=True, checks=(), fingerprints=stale)
    version = PolicyVersion(number=5, folder="v0002", sha256="5", report=report, created_at=now())
    await lone.policies.register(version)
    await lone.activate(5)
    await moves.settle(lone.pool, lone.policies)
    refused = await lone.policies.get(5)
    assert refused is not None
    assert "only 0 of 4 greedy answers" in (refused.reason or "")
    await lone.settled(on=1)
    assert await lone.said() == said


async def test_a_stopped_answer_ends_in_the_engine_within_a_second(lone: Site) -> None:
    lease = await lone.pool.lease(user="me")
    answer = lone.pool.stream(lease, SAY, LONG)
    await anext(answer)
    client = lease.engine.client
    assert await client.in_flight() == 1
    await answer.aclose()
    began = time.monotonic()
    while await client.in_flight() or await running(client):
        assert time.monotonic() - began < 1
        await asyncio.sleep(0.02)
    await lease.release()


async def test_an_api_client_that_leaves_ends_its_answer_in_the_engine(
    lone: Site, home: Path, redis_url: str
) -> None:
    client = lone.pool.engines[0].client
    settings = ServerSettings(data=home, redis_url=redis_url, web=home / "dist")
    async with serving_people(settings, lone.pool) as heed:
        ann = await heed.person("ann")
        say = {"role": "user", "content": "Say something."}
        body = {"model": "active", "messages": [say], "max_tokens": 1800, "temperature": 0, "stream": True}
        async with ann.http.stream("POST", "/v1/chat/completions", json=body) as response:
            await anext(response.aiter_lines())
            assert await running(client) == 1
        began = time.monotonic()
        while await client.in_flight() or await running(client):
            assert time.monotonic() - began < 1
            await asyncio.sleep(0.02)


async def test_every_parameter_of_the_api_does_what_it_says(
    lone: Site, redis_url: str, tmp_path: Path
) -> None:
    """OpenAI's client, our server, real vLLM: whole and streamed. Tokens are bytes here."""
    (tmp_path / "config.toml").touch()
    settings = ServerSettings(data=tmp_path, redis_url=redis_url, config=tmp_path / "config.toml")
    async with serving_people(settings, lone.pool) as heed:
        ann = await heed.person("ann")
        key = ann.http.headers["authorization"].removeprefix("Bearer ")
        async with openai.AsyncOpenAI(base_url=f"{heed.url}/v1", api_key=key, max_retries=0) as client:
            await ask_everything(client)
