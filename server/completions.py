"""A chat completion under way: its choices side by side, as OpenAI's chunks or as one whole answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

from server.drawing import speak
from server.engines.completion import Asked, Delta
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from server.errors import EngineFailed, Problem, openai_error, problem_of
from store.records import Account, Answer, ChatTurn, Conversation, Message, Response, Sampling, now

WAITING = 64
"""Pieces of several choices that wait for a slow reader; then their engines wait too."""
TITLE_LENGTH = 60
encode = json.JSONEncoder(separators=(",", ":")).encode


class Said(NamedTuple):
    """A piece of one choice, and the lease that it comes from."""

    choice: int
    delta: Delta
    lease: Lease


class Choice:
    """What one choice has said so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.end: Delta | None = None
        self.versions: tuple[int, ...] = ()
        self.continued: tuple[int, ...] = ()
        """Lengths of the text at which another engine took over."""
        self._lease: Lease | None = None

    def hear(self, said: Said) -> None:
        delta = said.delta
        if self.texts and said.lease is not self._lease:
            self.continued += (sum(map(len, self.texts)),)
        self._lease = said.lease
        self.texts.append(delta.text)
        self.logprobs += delta.logprobs or ()
        if delta.finish_reason:
            self.end, self.versions = delta, said.lease.versions


class Completion:
    """One request: `said` is what its engines say; closing that aborts every generation."""

    def __init__(
        self,
        response_id: str,
        model: str,
        pool: EnginePool,
        leases: Sequence[Lease],
        prompt: Sequence[ChatTurn],
        asked: Asked,
        *,
        version: int | None,
        user: str,
    ) -> None:
        self.id = response_id
        self.choices = [Choice() for _ in leases]
        self.prompt = prompt
        self.asked = asked
        self._model = model
        self._created = now()
        self._said = _choices(pool, leases, prompt, asked, version, user)
        self._first: Said | None = None

    async def begin(self) -> Said:
        """Wait for the first words. Raises EngineFailed, Problem."""
        try:
            self._first = await anext(self._said)
        except StopAsyncIteration:
            raise EngineFailed("the engine said nothing") from None
        return self._first

    async def _pieces(self) -> AsyncIterator[Said]:
        """Everything said, the first words again included, each choice having heard its own."""
        async with aclosing(self._said):
            item = self._first
            while item is not None:
                self.choices[item.choice].hear(item)
                yield item
                item = await anext(self._said, None)
        if any(choice.end is None for choice in self.choices):
            raise EngineFailed("the engine ended without a reason")

    async def whole(self) -> dict[str, Any]:
        """The answer at once. Raises EngineFailed, Problem."""
        await self.begin()
        async for _ in self._pieces():
            pass
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": "".join(choice.texts), "refusal": None},
                "logprobs": self._logprobs(choice.logprobs),
                "finish_reason": choice.end and choice.end.finish_reason,
            }
            for index, choice in enumerate(self.choices)
        ]
        versions = sorted({number for choice in self.choices for number in choice.versions})
        head = self._head("chat.completion", *versions)
        return head | {"choices": choices, "usage": self._usage()}

    async def chunks(self, *, with_usage: bool) -> AsyncGenerator[bytes, None]:
        """The answer as it comes, as ready server-sent events; after an error its object.

        What can be told at once is one piece: each is a write to the client's socket.
        """
        heads: dict[int, str] = {}
        after = ',"usage":null}\n\n' if with_usage else "}\n\n"
        opened: set[int] = set()

        def chunk(
            said: Said,
            delta: dict[str, str],
            logprobs: list[dict[str, Any]] | None = None,
            reason: str | None = None,
        ) -> bytes:
            version = said.lease.version
            if version not in heads:  # what stays the same is encoded once
                head = encode(self._head("chat.completion.chunk", version))
                heads[version] = f'data: {head[:-1]},"choices":'
            choice = {
                "index": said.choice,
                "delta": delta,
                "logprobs": None if logprobs is None else self._logprobs(logprobs),
                "finish_reason": reason,
            }
            return (heads[version] + encode([choice]) + after).encode()

        try:
            async for said in self._pieces():
                told = b""
                if said.choice not in opened:
                    opened.add(said.choice)
                    told += chunk(said, {"role": "assistant", "content": ""})
                # A token that is half a letter has a log-probability, but no text yet.
                if said.delta.text or said.delta.logprobs:
                    told += chunk(said, {"content": said.delta.text}, said.delta.logprobs or [])
                if said.delta.finish_reason:
                    told += chunk(said, {}, reason=said.delta.finish_reason)
                if told:
                    yield told
        except (EngineFailed, Problem) as error:
            yield event({"error": openai_error(problem_of(error))})

    def counted(self) -> bytes:
        """The chunk that follows the answer for who asked for its token counts."""
        versions = sorted({number for choice in self.choices for number in choice.versions})
        return event(self._head("chat.completion.chunk", *versions) | {"choices": [], "usage": self._usage()})

    def kept(self, owner: Account) -> Response | None:
        """The response for feedback to come to; None when the prompt does not end with a user's words."""
        *before, last = self.prompt
        if last.role != "user":
            return None
        system = before.pop(0).content if before and before[0].role == "system" else None
        conversation_id, message_id, at = f"conv_{self.id}", f"msg_{self.id}", now()
        # What the client asked for beside the sampling is no part of the record.
        sampling = Sampling.model_validate(self.asked.model_dump(include=set(Sampling.model_fields)))
        answers = tuple(
            Answer(
                id=f"ans_{self.id}_{index}",
                conversation_id=conversation_id,
                parent_id=message_id,
                stream_id=f"{conversation_id}.turn_{self.id}",
                state="finished",
                text="".join(choice.texts),
                policy_version=choice.versions[-1],
                versions=choice.versions,
                continued=choice.continued,
                sampling=sampling,
                prompt_tokens=choice.end.prompt_tokens,
                response_tokens=choice.end.response_tokens,
                finish_reason="length" if choice.end.finish_reason == "length" else "stop",
                created_at=self._created,
                ended_at=at,
            )
            for index, choice in enumerate(self.choices)
            if choice.end is not None
        )
        return Response(
            id=self.id,
            conversation=Conversation(
                id=conversation_id,
                owner_id=owner.id,
                title=" ".join(last.content.split())[:TITLE_LENGTH],
                system_prompt=system,
                leaf_id=answers[0].id,
                created_at=self._created,
                updated_at=at,
            ),
            message=Message(
                id=message_id,
                conversation_id=conversation_id,
                parent_id=None,
                text=last.content,
                created_at=self._created,
                before=tuple(before),
            ),
            answers=answers,
        )

    def _head(self, kind: str, *versions: int) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": int(self._created.timestamp()),
            "model": self._model,
            "system_fingerprint": "+".join(f"v{number}" for number in versions),
        }

    def _logprobs(self, content: list[dict[str, Any]]) -> dict[str, Any] | None:
        return None if self.asked.top_logprobs is None else {"content": content, "refusal": None}

    def _usage(self) -> dict[str, int]:
        """Token counts of all choices; the prompt counts once."""
        ends = [choice.end for choice in self.choices if choice.end is not None]
        prompt = max((end.prompt_tokens or 0 for end in ends), default=0)
        said = sum(end.response_tokens or 0 for end in ends)
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def event(data: dict[str, Any]) -> bytes:
    return f"data: {encode(data)}\n\n".encode()


async def _choices(
    pool: EnginePool,
    leases: Sequence[Lease],
    prompt: Sequence[ChatTurn],
    asked: Asked,
    version: int | None,
    user: str,
) -> AsyncGenerator[Said, None]:
    """The words of all choices as they come; releases the leases."""
    try:
        if len(leases) == 1:
            async with aclosing(speak(pool, leases[0], prompt, asked, version=version, user=user)) as words:
                async for delta, lease in words:
                    yield Said(0, delta, lease)
            return
        async with aclosing(_side_by_side(pool, leases, prompt, asked, version, user)) as said:
            async for item in said:
                yield item
    finally:
        for lease in leases:
            await lease.release()


async def _side_by_side(
    pool: EnginePool,
    leases: Sequence[Lease],
    prompt: Sequence[ChatTurn],
    asked: Asked,
    version: int | None,
    user: str,
) -> AsyncGenerator[Said, None]:
    arrived: asyncio.Queue[Said | BaseException | None] = asyncio.Queue(WAITING)

    async def draw(index: int, lease: Lease) -> None:
        # One seed for all choices would draw the same answer each time.
        seed = None if asked.seed is None else asked.seed + index
        own = asked.model_copy(update={"seed": seed})
        try:
            async with aclosing(speak(pool, lease, prompt, own, version=version, user=user)) as words:
                async for delta, current in words:
                    await arrived.put(Said(index, delta, current))
            await arrived.put(None)
        except Exception as error:
            await arrived.put(error)

    tasks = [asyncio.create_task(draw(index, lease)) for index, lease in enumerate(leases)]
    speaking = len(tasks)
    try:
        while speaking:
            item = await arrived.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                speaking -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
