"""A person at the HTTP API: signs in, asks, reads both answers of a duel to the end, votes."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp

from scripts.loop.annotators import Annotator


class Refused(Exception):
    """The server said no; the message has its words."""


class Stuck(Exception):
    """The demonstration cannot go on; the message says why."""


class Voted(NamedTuple):
    """A vote that counted, and what the vote revealed."""

    choice: str
    """`a`, `b` or `tie`, as it was cast."""
    ruled: str
    """What somebody who is never wrong would have said."""
    versions: tuple[int, int]
    """Of side a and side b."""


def session() -> aiohttp.ClientSession:
    """An HTTP session that keeps cookies of an IP address too, and waits for a slow model."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=600)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True))


class Client:
    """One person."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response's JSON. Raises Refused."""
        async with self.http.request(method, self.url + path, json=body, headers=headers) as response:
            text = await response.text()
            if response.status >= 400:
                raise Refused(f"{method} {path} answered {response.status}: {text[:500]}")
            return json.loads(text) if text else None

    async def sign_in(self, token: str) -> None:
        """Become the first admin, by the one-time link's token."""
        person = {"token": token, "name": "loop", "password": uuid.uuid4().hex}
        await self.call("POST", "/api/v1/setup", person)
        await self._use_key("chat", "feedback", "read", "admin")

    async def welcome(self, name: str, http: aiohttp.ClientSession) -> Client:
        """Another person with an account of their own, signed in; only an admin can."""
        person = {"name": name, "password": uuid.uuid4().hex}
        await self.call("POST", "/api/v1/accounts", person | {"role": "annotator"})
        newcomer = Client(http, self.url)
        await newcomer.call("POST", "/api/v1/login", person)
        await newcomer._use_key("chat", "feedback")
        return newcomer

    async def _use_key(self, *scopes: str) -> None:
        key = await self.call("POST", "/api/v1/keys", {"label": "loop", "scopes": list(scopes)})
        self.http.headers["Authorization"] = f"Bearer {key['secret']}"

    async def ask(self, prompt: str, model: str = "active") -> str:
        """One answer, outside any conversation."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        answer = await self.call("POST", "/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    async def duel_and_vote(self, prompt: str, annotator: Annotator) -> Voted | None:
        """Ask in a new conversation, read both answers to the end, vote. None when a side failed."""
        conversation = (await self.call("POST", "/api/v1/conversations", {}))["id"]
        turn = await self.call(
            "POST", f"/api/v1/conversations/{conversation}/messages", {"text": prompt, "mode": "duel"}
        )
        texts = {answer["id"]: "" for answer in turn["answers"]}
        failed = False
        async for event in self.events(turn["stream"]):
            if event["type"] == "answer.delta":
                texts[event["answer_id"]] += event["text"]
            failed |= event["type"] == "answer.end" and event["state"] != "finished"
        if failed:
            return None
        duel = turn["duel"]
        choice, ruled = annotator.judge(texts[duel["answer_a"]], texts[duel["answer_b"]])
        vote = {"kind": "duel", "duel_id": duel["id"], "choice": choice}
        cast = await self.call("POST", "/api/v1/votes", vote, **{"Idempotency-Key": uuid.uuid4().hex})
        return Voted(choice, ruled, (cast["reveal"]["version_a"], cast["reveal"]["version_b"]))

    async def events(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """A turn's stream from its start to its end."""
        async with self.http.get(self.url + path, headers={"Accept": "text/event-stream"}) as response:
            response.raise_for_status()
            async for line in response.content:
                if line.startswith(b"data:"):
                    event: dict[str, Any] = json.loads(line[5:])
                    yield event
                    if event["type"] == "turn.end":
                        return
