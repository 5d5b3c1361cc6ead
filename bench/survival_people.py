"""People who go on whatever breaks: they chat, vote, and repeat what was not acknowledged.

Each has an account, of which nothing is known before the first training.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aiohttp

COUNT = 3
PAUSE_S = 0.3
RETRY_S = 0.2
SILENT_S = 20.0
"""A stream that says nothing for longer is asked for again."""
UNTOUCHED = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class Refused(Exception):
    """The server said no for good; the message has its words."""


class People:
    """`async with People(url, token)`: `COUNT` of them ask and vote until the end."""

    def __init__(self, url: str, token: str) -> None:
        self.acknowledged: set[str] = set()
        """Ids of votes that the server has said it keeps."""
        self.voted_duels = 0
        self.wrong: list[str] = []
        """What a person would have seen as a fault of the product."""
        self.moments = {name: asyncio.Event() for name in ("turn", "stream", "vote")}
        self.longest_silence_s = 0.0
        self._last_answer = time.monotonic()
        self._url, self._token = url, token
        self._may_begin = asyncio.Event()
        self._may_begin.set()
        self._busy = 0
        self._answer = asyncio.Event()
        self._sessions: list[aiohttp.ClientSession] = []

    async def __aenter__(self) -> People:
        person = {"name": "survivor", "password": uuid.uuid4().hex}
        admin = self._session()
        try:
            await self._call(admin, "POST", "/api/v1/setup", person | {"token": self._token})
            self._living = []
            for number in range(COUNT):
                person = {"name": f"survivor {number}", "password": uuid.uuid4().hex}
                await self._call(admin, "POST", "/api/v1/accounts", person | {"role": "annotator"})
                http = self._session()
                self._sessions.append(http)
                await self._call(http, "POST", "/api/v1/login", person)
                asked = {"label": "survival", "scopes": ["chat", "feedback"]}
                key = await self._call(http, "POST", "/api/v1/keys", asked)
                http.headers["Authorization"] = f"Bearer {key['secret']}"
                self._living.append(asyncio.create_task(self._live(http)))
        finally:
            await admin.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._living:
            task.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        for http in self._sessions:
            await http.close()

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=SILENT_S)
        return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True))

    def begin(self) -> None:
        """Measure the longest silence from now on."""
        self.longest_silence_s, self._last_answer = 0.0, time.monotonic()
        self._answer.clear()

    async def answered(self) -> None:
        """Wait for an answer since `begin`."""
        await asyncio.wait_for(self._answer.wait(), 120)

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Everybody ends what they are at and waits."""
        self._may_begin.clear()
        deadline = time.monotonic() + 120
        while self._busy:
            if time.monotonic() > deadline:
                raise RuntimeError("somebody does not come to an end")
            await asyncio.sleep(0.02)
        try:
            yield
        finally:
            self._may_begin.set()

    async def _live(self, http: aiohttp.ClientSession) -> None:
        while True:
            await self._may_begin.wait()
            self._busy += 1
            try:
                await self._duel(http)
            except Refused as error:
                self.wrong.append(str(error))
            finally:
                self._busy -= 1
            await asyncio.sleep(PAUSE_S)

    async def _duel(self, http: aiohttp.ClientSession) -> None:
        """A new conversation, a duel, and a vote when both sides came."""
        conversation = (await self._call(http, "POST", "/api/v1/conversations", {}))["id"]
        self.moments["turn"].set()
        body = {"text": "Say something.", "mode": "duel"}
        turn = await self._call(http, "POST", f"/api/v1/conversations/{conversation}/messages", body)
        if not await self._read(http, turn["stream"]):
            return
        now = time.monotonic()
        self.longest_silence_s = max(self.longest_silence_s, now - self._last_answer)
        self._last_answer = now
        self._answer.set()
        # Always the same side would be marked as such, and left out.
        vote = {"kind": "duel", "duel_id": turn["duel"]["id"], "choice": random.choice("ab")}
        key = uuid.uuid4().hex
        self.moments["vote"].set()
        cast = await self._call(http, "POST", "/api/v1/votes", vote, key)
        self.acknowledged.add(cast["vote"]["id"])
        self.voted_duels += 1

    async def _call(
        self,
        http: aiohttp.ClientSession,
        method: str,
        path: str,
        body: dict[str, Any],
        key: str | None = None,
    ) -> Any:
        """Until the server answers; the same key makes it the same act. Raises Refused."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        while True:
            try:
                async with http.request(method, self._url + path, json=body, headers=headers) as response:
                    text = await response.text()
                    if response.status < 400:
                        return json.loads(text)
                    if response.status < 500 and response.status != 429:
                        raise Refused(f"{method} {path} answered {response.status}: {text[:200]}")
            except UNTOUCHED:
                pass
            await asyncio.sleep(RETRY_S)

    async def _read(self, http: aiohttp.ClientSession, path: str) -> bool:
        """To the end of the turn, from the last event on when the connection breaks; whether both came."""
        last = ""
        whole: bool = True
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                async with http.get(self._url + path, headers=headers) as response:
                    if response.status == 200:
                        async for line in response.content:
                            if line.startswith(b"id:"):
                                last = line[3:].strip().decode()
                            elif line.startswith(b"data:"):
                                event = json.loads(line[5:])
                                self.moments["stream"].set()
                                whole &= event["type"] != "answer.end" or event["state"] == "finished"
                                if event["type"] == "turn.end":
                                    return whole
                    elif response.status == 204:  # nothing is left to tell
                        return whole
                    elif response.status < 500 and response.status != 429:
                        raise Refused(f"GET {path} answered {response.status}")
            except UNTOUCHED:
                pass
            await asyncio.sleep(RETRY_S)
