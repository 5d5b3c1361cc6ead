"""Real vLLM behind the pool: hot swaps under streams, the way back, refused weights, a killed engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
import torch
from aiohttp import web
from safetensors.torch import load_file, save_file

from bench.marked import LETTERS, publish_marked
from server.drawing import speak
from server.engines import moves, reconcile
from server.engines.client import Delta, EngineClient, OtherWeights
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from server.engines.sidecar import create_sidecar
from server.engines.swap import swap
from server.errors import EngineFailed
from server.settings import ServerSettings
from store.artifacts import seal
from store.connection import connect
from store.policies import Policies, write_pointer
from store.records import ChatTurn, Fingerprint, GateReport, PolicyVersion, Sampling, now
from tests.running import serving as serving_people
from trainer.tiny import byte_tokenizer, make_tiny

# Two engines start on two cores that other tests may use too.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SAY = [ChatTurn(role="user", content="Say something.")]
LONG = Sampling(max_tokens=1800, temperature=0)  # greedy never meets the end token here
MARKED = (6, 7, 8)
"""Versions that speak letters of their own only."""
PROMPTS = ("Hi", "What is two plus two?", "Name three colours.", "Tell me more. " * 20)


class Process:
    """One real engine."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.home = home
        self.address = f"unix://{home / name}.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "server.engines.launch", "--name", self.name]
        with open(self.home / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--socket", self.address.removeprefix("unix://")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {"HEED_DATA": str(self.home)},
            )

    def kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def publish(
    home: Path, number: int, change: Callable[[str, torch.Tensor], torch.Tensor] | None = None
) -> None:
    """Seal a tiny policy with weights of its own as this version; `change` may break them."""
    made = make_tiny(home / f"made-{number}", seed=number)
    if change is not None:
        weights = load_file(made / "model.safetensors")
        weights = {name: change(name, tensor).contiguous() for name, tensor in weights.items()}
        save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    seal(made, home / "policies" / f"v{number:04d}", {"version": number})


def nan(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return torch.full_like(tensor, torch.nan) if name == "model.norm.weight" else tensor


def overflowing(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Finite, but what is computed with it is not."""
    return (tensor.float() * 1e30).to(tensor.dtype) if "_proj" in name else tensor


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    # A Unix socket's path holds at most 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="heed-", dir="/tmp"))
    (folder / "policies").mkdir()
    publish(folder, 1)
    publish(folder, 2)
    publish(folder, 3, nan)
    publish(folder, 4, overflowing)
    for number in MARKED:
        publish_marked(folder, number, LETTERS[number - MARKED[0]])
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def processes(home: Path) -> Iterator[list[Process]]:
    """Two engines on version 1, started once."""
    write_pointer(home, "v0001")
    started = [Process(home, "engine-1"), Process(home, "engine-2")]
    for process in started:
        process.start()
    yield started
    for process in started:
        process.kill()


class Site:
    """A registry as empty as Redis is at each test, and a server's pool over engines that live on."""

    def __init__(self, home: Path, policies: Policies, processes: list[Process]) -> None:
        self.policies = policies
        self.home = home
        clients = [EngineClient(process.name, process.address) for process in processes]
        self.pool = EnginePool(clients, max_model_len=2048, places=64)
        self.pool.drives = True

    async def settled(self, on: int, engines: int = 1, timeout_s: float = 20) -> float:
        """Reconcile until so many engines answer and `on` serves; how long it took in seconds."""
        began = time.monotonic()
        while self.pool.serving != on or self._ready() < engines or on not in self.pool.served():
            await reconcile.look(self.pool, self.policies)
            await moves.settle(self.pool, self.policies)
            assert time.monotonic() - began < timeout_s, self.pool.statuses()
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def _ready(self) -> int:
        return sum(status.state == "ready" for status in self.pool.statuses())

    async def activate(self, number: int, expected: int = 1) -> None:
        await self.policies.activate(number, "test", "better", expected=expected)

    async def said(self, engine: str | None = None) -> list[tuple[int, ...]]:
        """Greedy answers of the engine that serves now, or of a named one."""
        lease = await self.pool.lease(user="me")
        await lease.release()
        by_name = {one.name: one.client for one in self.pool.engines}
        client = by_name[engine or lease.engine.name]
        return [(await client.greedy(prompt, 12)).token_ids for prompt in PROMPTS]


@pytest.fixture
async def site(home: Path, processes: list[Process], redis_url: str) -> AsyncIterator[Site]:
    """Both engines seen, version 1 serves."""
    async with serving(home, processes, redis_url) as site:
        yield site


@pytest.fixture
async def lone(home: Path, processes: list[Process], redis_url: str) -> AsyncIterator[Site]:
    """A server that knows one engine only, on version 1."""
    async with serving(home, processes[:1], redis_url) as site:
        yield site


class serving:
    """A site with every version registered and version 1 active and served."""

    def __init__(self, home: Path, processes: list[Process], redis_url: str) -> None:
        self.redis = connect(redis_url)
        self.site = Site(home, Policies(self.redis, home), processes)
        self.count = len(processes)

    async def __aenter__(self) -> Site:
        for number in (1, 2, 3, 4, *MARKED):
            version = PolicyVersion(number=number, folder=f"v{number:04d}", sha256="", created_at=now())
            await self.site.policies.register(version)
        await self.site.policies.activate(1, "test", "base", expected=None)
        await self.site.pool.open()
        await self.site.settled(on=1, engines=self.count, timeout_s=240)
        return self.site

    async def __aexit__(self, *_: object) -> None:
        await self.site.pool.close()
        await self.redis.aclose()


async def until_stopped(
    site: Site, stop: asyncio.Event, sampling: Sampling, begun: set[int] | None = None
) -> list[Said]:
    """Ask again and again; `begun` gets the versions that answer."""
    answers = []
    while not stop.is_set():
        lease = await site.pool.lease(user="me")
        if begun is not None:
            begun.add(lease.version)
        deltas = [delta async for delta in site.pool.stream(lease, SAY, sampling)]
        await lease.release()
        answers.append(Said(lease, "".join(delta.text for delta in deltas), deltas[-1]))
    return answers


class Said(NamedTuple):
    lease: Lease
    text: str
    end: Delta


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


async def test_swaps_and_rollbacks_under_answers_drop_none_and_mix_none(site: Site) -> None:
    """`python -m bench.swaps` is the long form."""
    first, second, third = MARKED
    await site.activate(first)
    await site.settled(on=first)
    stop, begun = asyncio.Event(), set[int]()
    sampling = Sampling(max_tokens=60)
    asking = [asyncio.create_task(until_stopped(site, stop, sampling, begun)) for _ in range(8)]

    async def answered(number: int) -> float:
        begun.clear()
        took = await site.settled(on=number)
        while number not in begun:
            await asyncio.sleep(0.01)
        return took

    await answered(first)
    await site.activate(second, expected=first)
    await answered(second)
    await site.activate(third, expected=second)
    await answered(third)
    await site.policies.rollback("test", "worse")
    assert await answered(second) < 1, "the version before is warm"
    await site.policies.rollback("test", "worse too")
    await answered(first)
    stop.set()
    answers = [said for answers in await asyncio.gather(*asking) for said in answers]
    assert {said.lease.version for said in answers} == set(MARKED)
    for said in answers:
        assert said.lease.versions == (said.lease.version,)
        assert (said.end.finish_reason, said.end.response_tokens, len(said.text)) == ("length", 60, 60)
        assert set(said.text) <= set(LETTERS[said.lease.version - first])


async def test_a_rollback_gives_the_same_answers_as_before(site: Site) -> None:
    old = await site.said()
    await site.activate(2)
    await site.settled(on=2)
    assert all(a != b for a, b in zip(await site.said(), old, strict=True))
    await site.policies.rollback("test", "worse")
    assert await site.settled(on=1) < 1
    assert await site.said() == old


async def test_an_engine_behind_its_sidecar_is_swapped_like_any_other(
    home: Path, processes: list[Process], redis_url: str
) -> None:
    token = "an engine token for tests only"
    socket = Path(processes[0].address.removeprefix("unix://"))
    runner = web.AppRunner(create_sidecar(socket, home / "policies", token), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    remote = serving(home, processes[:1], redis_url)
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


async def running(client: EngineClient) -> float:
    """Requests that vLLM's scheduler works on."""
    async with client.session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


async def test_weights_with_nan_never_reach_an_engine(site: Site) -> None:
    before = [await engine.client.held() for engine in site.pool.engines]
    await site.activate(3)
    await moves.settle(site.pool, site.policies)
    refused = await site.policies.get(3)
    assert refused is not None
    assert refused.state == "rejected"
    assert "model.norm.weight" in (refused.reason or "")
    assert [await engine.client.held() for engine in site.pool.engines] == before
    await site.settled(on=1)


async def test_weights_that_compute_nan_leave_no_trace(lone: Site) -> None:
    old = await lone.said()
    await lone.activate(4)
    await moves.settle(lone.pool, lone.policies)
    refused = await lone.policies.get(4)
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


async def ask_everything(client: openai.AsyncOpenAI) -> None:
    async def whole(**more: Any) -> Any:
        ask = {"model": "v1", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 12}
        return await client.chat.completions.create(**{**ask, **more})

    async def streamed(**more: Any) -> tuple[list[str], list[Any], list[Any]]:
        """Texts and log-probabilities by choice, and the chunks."""
        texts, logprobs = [""] * more.get("n", 1), [[] for _ in range(more.get("n", 1))]
        chunks = [chunk async for chunk in await whole(stream=True, **more)]
        for choice in (choice for chunk in chunks for choice in chunk.choices):
            texts[choice.index] += choice.delta.content or ""
            logprobs[choice.index] += choice.logprobs.content if choice.logprobs else []
        return texts, logprobs, chunks

    def texts_of(answer: Any) -> list[str]:
        return [choice.message.content for choice in answer.choices]

    greedy = await whole(temperature=0)
    assert greedy.system_fingerprint == "v1"
    assert (greedy.usage.completion_tokens, greedy.choices[0].finish_reason) == (12, "length")
    said, _, chunks = await streamed(temperature=0, stream_options={"include_usage": True})
    assert said == texts_of(greedy)
    assert chunks[-1].usage == greedy.usage

    # Drawn: n choices differ, each seed repeats its own, the stream is the same draw.
    few = {"max_completion_tokens": 3}
    drawn = await whole(n=3, seed=5, **few)
    assert len(set(texts_of(drawn))) == 3
    assert texts_of(await whole(n=2, seed=6, **few)) == texts_of(drawn)[1:]
    assert (await streamed(n=3, seed=5, **few))[0] == texts_of(drawn)
    assert texts_of(await whole(seed=9, top_p=1e-6)) == texts_of(await whole(seed=10, top_p=1e-6))

    # Log-probabilities: of each token, the likeliest first; greedy takes it.
    ask = {"temperature": 0, "logprobs": True, "top_logprobs": 3}
    content = (await whole(**ask)).choices[0].logprobs.content
    assert len(content) == 12
    for token in content:
        top = [other.logprob for other in token.top_logprobs]
        assert token.logprob == top[0] == max(top) <= 0
        assert len(top) == 3
    again = (await streamed(**ask))[1][0]
    assert len(again) == 12
    assert again[0].logprob == pytest.approx(content[0].logprob, abs=0.05)  # bf16, another batch

    # What changes the logits changes the answer.
    (a,) = byte_tokenizer().encode("a", add_special_tokens=False)
    only_a = {"temperature": 0, "logit_bias": {a: 100}}
    assert texts_of(await whole(**only_a)) == ["a" * 12]
    often = await whole(temperature=0, max_completion_tokens=60, frequency_penalty=2, presence_penalty=2)
    plain = await whole(temperature=0, max_completion_tokens=60)
    assert len(set(texts_of(often)[0])) > len(set(texts_of(plain)[0]))
    with pytest.raises(openai.BadRequestError) as caught:
        await whole(logit_bias={10**6: 1})
    assert caught.value.param == "logit_bias"

    # Ends: a stop text is not said; a JSON object begins as one.
    stopped = await whole(**only_a, stop=["aaaa", "never said"])
    assert (texts_of(stopped), stopped.choices[0].finish_reason) == ([""], "stop")
    shaped = await whole(**only_a, response_format={"type": "json_object"})
    assert not texts_of(shaped)[0].startswith("a")


async def test_a_killed_engine_fails_its_answers_and_is_seen_again(
    site: Site, processes: list[Process]
) -> None:
    await site.activate(2)
    await site.settled(on=2)
    reloaded = await site.said()
    lease = await site.pool.lease(user="me")
    answer = site.pool.stream(lease, SAY, LONG)
    await anext(answer)
    victim = next(process for process in processes if process.name == lease.engine.name)
    write_pointer(site.home, "v0002")
    victim.kill()
    with pytest.raises(EngineFailed, match=victim.name):
        async for _ in answer:
            pass
    await lease.release()
    other = await site.pool.lease(user="me")
    assert other.version == 1, "the version before answers until the engine is back"
    await other.release()

    victim.start()
    await site.settled(on=2, engines=2, timeout_s=240)
    assert site.pool.served()[2] == victim.name
    assert await site.said() == reloaded, "a fresh engine says what a reloaded one does"


async def test_a_killed_engines_answer_goes_on_with_another_one_as_if_nothing_had_happened(
    site: Site, processes: list[Process]
) -> None:
    """Greedy, so that the whole text can be compared with what one engine says without a break."""
    record = await site.policies.get(1)
    assert record is not None
    for engine in site.pool.engines:
        if engine.version != 1:
            await swap(site.pool, engine, record, site.policies.folder(record))
    sampling = Sampling(max_tokens=700, temperature=0)
    lease = await site.pool.lease(user="me")
    other = next(engine for engine in site.pool.engines if engine is not lease.engine)
    unbroken = [delta async for delta in other.client.stream(SAY, sampling)]
    victim = next(process for process in processes if process.name == lease.engine.name)

    said, leases = [], []
    async for delta, current in speak(site.pool, lease, SAY, sampling, version=1, user="me"):
        said.append(delta)
        leases.append(current)
        if len(said) == 1:  # on a slow machine a piece may be many words
            victim.kill()
    assert [leases[0].engine.name, leases[-1].engine.name] == [lease.engine.name, other.name]
    assert "".join(delta.text for delta in said) == "".join(delta.text for delta in unbroken)
    assert said[-1] == unbroken[-1], "the end and the token counts are those of the whole answer"
