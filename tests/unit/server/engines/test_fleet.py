"""A fleet of engines in processes of their own: rolling swaps under answers, kills, joins and leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from server.engines import moves, reconcile, routing
from server.engines.pool import EnginePool
from server.engines.sidecar import create_sidecar
from server.errors import EngineFailed
from store.records import ChatTurn, EngineMember, Sampling, now
from tests.unit.server.engines.conftest import Site

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ROOT = Path(__file__).resolve().parents[4]
SAY = [ChatTurn(role="user", content="Hi")]
WORDS = 25
TOKEN = "an engine token for tests only"


class Fleet:
    """Engines in processes, each a device of its own; a server that reconciles; people who ask."""

    def __init__(self, site: Site, max_unavailable: int) -> None:
        self.site = site
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.pool = EnginePool([], max_model_len=64, places=1000, max_unavailable=max_unavailable)
        self.sidecars: list[web.AppRunner] = []
        self.stop = asyncio.Event()
        self.texts: list[str] = []
        """Answers that ended."""
        self.broken: list[str] = []
        """Engines that broke an answer off."""
        self.most_unavailable = 0

    def launch(self, name: str) -> None:
        socket = self.site.home / f"{name}.sock"
        command = [sys.executable, "-m", "tests.fake_vllm", str(socket), str(self.active_folder)]
        self.processes[name] = subprocess.Popen(command, cwd=ROOT)

    @property
    def active_folder(self) -> Path:
        return self.site.home / "policies" / (self.site.home / "policies" / "ACTIVE").read_text().strip()

    async def join(self, name: str) -> None:
        """A new engine on another host, as its sidecar shows it."""
        self.launch(name)
        app = create_sidecar(self.site.home / f"{name}.sock", self.site.home / "policies", TOKEN)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        self.sidecars.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        member = EngineMember(
            name=name, address=f"http://{host}:{port}", device=name, actor="ann", joined_at=now()
        )
        await self.site.registry.join(member)

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    async def ask(self) -> None:
        """One person who asks again and again."""
        while not self.stop.is_set():
            lease = await self.pool.lease(user="me")
            said = []
            try:
                async for delta in self.pool.stream(lease, SAY, Sampling(max_tokens=WORDS)):
                    said.append(delta)
                assert said[-1].finish_reason == "length"
                assert lease.versions == (lease.version,)
                self.texts.append("".join(delta.text for delta in said))
            except EngineFailed:
                self.broken.append(lease.engine.name)
            finally:
                await lease.release()

    async def watch(self) -> None:
        """How many engines are out at once while a swap rolls."""
        while not self.stop.is_set():
            out = [one for one in self.pool.engines if one.target is not None or one.draining]
            self.most_unavailable = max(self.most_unavailable, len(out))
            await asyncio.sleep(0.01)

    async def holds(self, **versions: int) -> None:
        """Wait until so many engines hold v1, v2 ..."""
        began = time.monotonic()
        while True:
            held = [f"v{engine.version}" for engine in self.pool.engines if engine.state == "ready"]
            if all(held.count(name) == count for name, count in versions.items()):
                return
            assert time.monotonic() - began < 20, self.pool.statuses()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(site: Site, engines: int, people: int, max_unavailable: int = 1) -> AsyncIterator[Fleet]:
    """So many engines on version 1, and people who ask."""
    fleet = Fleet(site, max_unavailable)
    for number in (1, 2):
        await site.publish(number, gated=True)
    await site.policies.activate(1, "test", "base", expected=None)
    run = reconcile.run(fleet.pool, site.policies, site.registry, "here", TOKEN)
    reconciler = asyncio.create_task(run)
    asking: list[asyncio.Task[None]] = []
    try:
        for number in range(engines):
            await fleet.join(f"e{number}")
        await fleet.holds(v1=engines)
        asking += [asyncio.create_task(fleet.ask()) for _ in range(people)]
        asking.append(asyncio.create_task(fleet.watch()))
        yield fleet
        fleet.stop.set()
        await asyncio.gather(*asking)
    finally:
        for task in (*asking, reconciler):
            task.cancel()
        await asyncio.gather(*asking, reconciler, return_exceptions=True)
        await fleet.pool.close()
        for sidecar in fleet.sidecars:
            await sidecar.cleanup()
        for name in fleet.processes:
            fleet.kill(name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "TICK_S", 0.05)
    monkeypatch.setattr(moves, "RETRY_S", 0.2)
    monkeypatch.setattr(routing, "BATCH", 2)


def whole_and_of_one_version(text: str) -> bool:
    words = text.split()
    return len(words) == WORDS and len(set(words)) == 1


async def test_a_rolling_swap_drops_nothing_and_a_kill_breaks_only_its_own_answers(site: Site) -> None:
    async with running(site, engines=5, people=12, max_unavailable=2) as fleet:
        await site.activate(2)
        await fleet.holds(v2=4, v1=1)
        assert fleet.broken == []
        assert {text.split()[0] for text in fleet.texts} == {"v0001", "v0002"}
        assert fleet.most_unavailable == 2

        while not (speaking := [one for one in fleet.pool.engines if len(one.leases) > 1]):
            await asyncio.sleep(0.01)
        victim, answers = speaking[0], len(speaking[0].leases)
        fleet.kill(victim.name)
        while victim.state == "ready":  # its streams broke
            await asyncio.sleep(0.005)
        done = len(fleet.texts)
        while len(fleet.texts) < done + 12:
            await asyncio.sleep(0.01)
    assert set(fleet.broken) == {victim.name}
    assert len(fleet.broken) <= answers + 2
    assert all(map(whole_and_of_one_version, fleet.texts))


async def test_a_kill_in_mid_swap_a_join_and_a_leave_hold_nothing_up(site: Site) -> None:
    async with running(site, engines=4, people=8) as fleet:
        await site.activate(2)
        while not (loading := [one.name for one in fleet.pool.engines if one.state == "loading"]):
            await asyncio.sleep(0.005)
        fleet.kill(loading[0])
        await fleet.join("new")
        last = next(one for one in fleet.pool.engines if one.state == "ready" and one.name != loading[0])
        await site.registry.leave(last.name, "ann")
        while any(one.name == last.name for one in fleet.pool.engines):
            await asyncio.sleep(0.01)
        assert not last.leases, "its answers ended first"
        await fleet.holds(v2=2, v1=1)
        fleet.launch(loading[0])  # as its supervisor does, on the version that is active now
        await fleet.holds(v2=3, v1=1)
        assert {one.name for one in fleet.pool.engines} == {"e0", "e1", "e2", "e3", "new"} - {last.name}
    assert fleet.broken == [], "nobody spoke on the engine that was killed"
    assert all(map(whole_and_of_one_version, fleet.texts))
    assert await site.state(2) == "active"
