"""Readers that stop reading: what the server keeps for them is bounded, and they go on or are cut off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.engines.client import Delta
from store.records import ChatTurn, Sampling
from tests.fakes import Script
from tests.running import Heed, Person

pytestmark = pytest.mark.anyio
KEPT = 96 * 1024
"""Most bytes that the server holds for one reader: uvicorn's 64 KiB, and what is written in one go."""


class Reader:
    """A client whose socket takes next to nothing until it reads."""

    def __init__(self, person: Person, method: str, path: str, body: Any = None) -> None:
        url = urlsplit(str(person.http.base_url))
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((url.hostname, url.port))
        self.socket.setblocking(False)
        content = json.dumps(body).encode() if body else b""
        head = [
            f"{method} {path} HTTP/1.1",
            f"Host: {url.netloc}",
            f"Authorization: {person.http.headers['Authorization']}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            "Connection: close",
        ]
        self.request = "\r\n".join(head).encode() + b"\r\n\r\n" + content
        self.seen = b""

    async def send(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, self.request)

    async def read(self, at_most: int | None = None) -> bytes:
        """So many bytes, or all there is until the end."""
        while at_most is None or len(self.seen) < at_most:
            received = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
            if not received:
                self.socket.close()
                break
            self.seen += received
        return self.seen


def kept(heed: Heed) -> int:
    """Bytes in the server's own buffers, over all connections."""
    transports = [protocol.transport for protocol in heed.server.server_state.connections]
    return max((transport.get_write_buffer_size() for transport in transports if transport), default=0)


async def until_still(count: Any) -> Any:
    """Wait until a figure does not change for half a second."""
    last, same = None, 0
    while same < 10:
        await asyncio.sleep(0.05)
        now = count()
        same = same + 1 if now == last else 0
        last = now
    return last


@pytest.fixture
def narrow(heed: Any) -> Any:
    """A server whose end of a connection takes little too: the kernel's own buffers grow to megabytes."""
    for listening in heed.server.servers[0].sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return heed


def drawn_from(heed: Any) -> list[str]:
    """What the engine has been asked for, piece by piece."""
    drawn: list[str] = []
    client = heed.pool.clients[0]
    plain = client.stream

    async def stream(
        messages: Sequence[ChatTurn], sampling: Sampling, *, goes_on: bool = False
    ) -> AsyncGenerator[Delta, None]:
        async for delta in plain(messages, sampling, goes_on=goes_on):
            drawn.append(delta.text)
            yield delta

    client.stream = stream
    return drawn


async def test_an_api_reader_that_stops_stops_the_relay_and_can_go_on(narrow: Any, ann: Person) -> None:
    narrow.pool.say(Script(["x" * 999 + " "] * 4000))
    drawn = drawn_from(narrow)
    body = {"model": "active", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    reader = Reader(ann, "POST", "/v1/chat/completions", body)
    await reader.send()
    assert await until_still(lambda: len(drawn)) < 400, "4 MB are there, and not drawn"
    assert kept(narrow) < KEPT
    seen = await reader.read()
    assert seen.count(b"x" * 999) == 4000
    assert b"[DONE]" in seen
    assert narrow.pool.in_flight == 0


async def test_a_reader_that_never_goes_on_is_cut_off_and_its_generation_ends(
    narrow: Any, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.events.SEND_TIMEOUT_S", 0.3)
    narrow.pool.say(Script(["x" * 1000] * 4000))
    body = {"model": "active", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    reader = Reader(ann, "POST", "/v1/chat/completions", body)
    await reader.send()
    async with asyncio.timeout(5):
        while not narrow.pool.in_flight:
            await asyncio.sleep(0.01)
        while narrow.pool.in_flight:
            await asyncio.sleep(0.01)
    assert narrow.pool.clients[0].aborted == 1
    seen = await reader.read()
    assert b"[DONE]" not in seen
    assert not seen.endswith(b"0\r\n\r\n"), "the body has no end, so no client takes it for whole"


async def test_a_page_that_stops_reading_gets_the_whole_answer_later(narrow: Any, ann: Person) -> None:
    narrow.pool.say(Script(["y" * 499 + " "] * 400, pause_s=0.001))  # 200 kB
    turn = await ann.say("Hi")
    reader = Reader(ann, "GET", turn["stream"])
    await reader.send()
    await reader.read(1000)
    async with asyncio.timeout(10):
        while narrow.pool.in_flight:  # the generation is the server's: it ends, whoever reads
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert kept(narrow) < KEPT
    seen = await reader.read()
    assert seen.count(b"y" * 499) == 400
    assert b"turn.end" in seen
