"""A server on a loopback port and people who use it: real HTTP, real Redis, scripted engines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import uvicorn

from server.app import create_app
from server.dependencies import Parts
from server.engines.pool import EnginePool
from server.settings import ServerSettings
from store.records import Role
from tests.fakes import ScriptedPool

PASSWORD = "correct horse battery"


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the tests' process keeps its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Turn:
    """What a client saw of a turn's stream."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def texts(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for event in self.events:
            if event["type"] == "answer.delta":
                texts[event["answer_id"]] = texts.get(event["answer_id"], "") + event["text"]
        return texts

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


class Person:
    """A client with an API key. Every raw response is kept for tests that look for leaks."""

    def __init__(self, url: str, secret: str, account_id: str) -> None:
        self.account_id = account_id
        self.seen: list[bytes] = []
        headers = {"Authorization": f"Bearer {secret}"}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=20)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        response = await self.http.request(method, path, json=body, headers=headers)
        self.seen.append(str(response.headers).encode() + response.content)
        return response

    async def get(self, path: str) -> Any:
        response = await self.call("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def conversation(self, **body: Any) -> str:
        return str((await self.call("POST", "/api/v1/conversations", body)).json()["id"])

    async def say(self, text: str = "Hi", mode: str = "single", conversation: str = "", **more: Any) -> Any:
        """A turn in a new or a given conversation; the response's JSON plus the conversation's id."""
        conversation = conversation or await self.conversation()
        path = f"/api/v1/conversations/{conversation}/messages"
        response = await self.call("POST", path, {"text": text, "mode": mode, **more})
        assert response.status_code == 202, response.text
        return {**response.json(), "conversation": conversation}

    async def follow(self, path: str, after: str | None = None, stop_at: str = "turn.end") -> Turn:
        """Read a stream to its end (or to the first event of a kind)."""
        turn = Turn()
        headers = {"Last-Event-ID": after} if after else {}
        async with self.http.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            self.seen.append(str(response.headers).encode())
            async for line in response.aiter_lines():
                self.seen.append(line.encode())
                if line.startswith("id:"):
                    turn.ids.append(line[3:].strip())
                if line.startswith("data:"):
                    turn.events.append(json.loads(line[5:]))
                    if turn.events[-1]["type"] == stop_at:
                        break
        return turn

    async def duel(self, text: str = "Hi") -> Any:
        """A finished duel."""
        turn = await self.say(text, mode="duel")
        await self.follow(turn["stream"])
        return turn

    async def vote(self, duel_id: str, choice: str = "a", key: str = "key-1") -> httpx.Response:
        body = {"kind": "duel", "duel_id": duel_id, "choice": choice}
        return await self.call("POST", "/api/v1/votes", body, **{"Idempotency-Key": key})


@dataclass
class Heed:
    url: str
    pool: ScriptedPool
    parts: Parts
    server: uvicorn.Server
    people: list[Person] = field(default_factory=list)

    async def person(self, name: str, role: Role = "annotator") -> Person:
        account = await self.parts.accounts.create(name, PASSWORD, role)
        _, secret = await self.parts.api_keys.create(account.id, "test")
        person = Person(self.url, secret, account.id)
        self.people.append(person)
        return person


@contextlib.asynccontextmanager
async def serving(settings: ServerSettings, pool: EnginePool | None) -> AsyncIterator[Heed]:
    """The server on a free loopback port, for as long as the context lasts; no pool: its own engines."""
    app = create_app(settings, pool)
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=2)
    server = QuietServer(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
        if task.done():
            task.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    parts: Parts = app.state.parts
    heed = Heed(f"http://127.0.0.1:{port}", cast(ScriptedPool, pool or parts.pool), parts, server)
    try:
        yield heed
    finally:
        for person in heed.people:
            await person.http.aclose()
        server.should_exit = True
        await task


async def operations(client: httpx.AsyncClient) -> set[tuple[str, str]]:
    """Every (method, path) of the application's schema."""
    schema = (await client.get("/api/openapi.json")).json()
    return {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}


def filled(path: str) -> str:
    """The path with some id in each place for one: ids of nothing. A number where a version stands."""
    return re.sub(r"\{(\w+)\}", lambda found: "9" if found[1] == "number" else "x", path)
