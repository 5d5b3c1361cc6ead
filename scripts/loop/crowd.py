"""Several people at once: everybody asks and votes until something happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from scripts.loop.annotators import Annotator
from scripts.loop.client import Client, Refused, Stuck, Voted, session

LOOK_S = 0.5
ASKED_AT_ONCE = 16
MOST_FAILURES = 20
"""Duels in a row that may fail: an engine that is swapped refuses for a moment, a broken one for ever."""


class Crowd:
    """People who ask prompts that nobody asked before."""

    def __init__(self, people: Sequence[Client], fresh: Iterator[str]) -> None:
        self.people = people
        self._fresh = fresh
        self._failures = 0

    async def vote_until(
        self, over: Callable[[], Awaitable[bool]], annotator: Annotator, cast: list[Voted]
    ) -> None:
        """Everybody opens one duel after the other and votes on it; those under way when it is over count.

        Every vote goes into `cast` at once, so that it is known also when the prompts run out.

        Raises Stuck when the prompts run out, Refused when the server refuses again and again.
        """
        ended = asyncio.Event()

        async def chat(person: Client) -> None:
            while not ended.is_set():
                voted = await self._duel(person, annotator)
                if voted is not None:
                    cast.append(voted)
                    if len(cast) % 20 == 0:
                        print(f"  votes {len(cast)}", flush=True)

        async def look() -> None:
            while not await over():
                await asyncio.sleep(LOOK_S)
            ended.set()

        tasks = [asyncio.create_task(work) for work in (look(), *map(chat, self.people))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _duel(self, person: Client, annotator: Annotator) -> Voted | None:
        prompt = next(self._fresh, None)
        if prompt is None:
            raise Stuck("The prompts ran out before the votes were enough: give more by PROMPTS=file.jsonl")
        try:
            voted = await person.duel_and_vote(prompt, annotator)
        except Refused as refused:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise
            print(f"  {refused}", flush=True)
            await asyncio.sleep(LOOK_S)
            return None
        self._failures = 0
        return voted


@asynccontextmanager
async def gathered(admin: Client, count: int, fresh: Iterator[str]) -> AsyncIterator[Crowd]:
    """So many people, each with an account of their own, for as long as the context lasts."""
    async with AsyncExitStack() as stack:
        people = [
            await admin.welcome(f"person {number}", await stack.enter_async_context(session()))
            for number in range(1, count + 1)
        ]
        yield Crowd(people, fresh)


async def ask_all(client: Client, prompts: Sequence[str], model: str) -> list[str]:
    """One answer of `model` to each prompt, a few at once."""
    gate, done = asyncio.Semaphore(ASKED_AT_ONCE), 0

    async def ask(prompt: str) -> str:
        nonlocal done
        async with gate:
            answer = await client.ask(prompt, model)
        done += 1
        if done % 20 == 0 or done == len(prompts):
            print(f"  answers {done}/{len(prompts)}", flush=True)
        return answer

    return await asyncio.gather(*map(ask, prompts))
