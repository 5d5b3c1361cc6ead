"""The annotators' queue: items, who has which, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from store import keys, queue_scripts
from store.connection import Redis, available
from store.records import ItemAnswer, QueueItem, QueueTask, Verdict, now

DONE = 10**15
"""Milliseconds that never come: a place whose verdict is in does not run out."""


class Progress(NamedTuple):
    """Verdicts wanted and in, and items that wait for more."""

    wanted: int
    done: int
    open: int
    gold: int


class Queue:
    """Reads and writes the queue. Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add = redis.register_script(queue_scripts.ADD)
        self._remove = redis.register_script(queue_scripts.REMOVE)
        self._reserve = redis.register_script(queue_scripts.RESERVE)
        self._finish = redis.register_script(queue_scripts.FINISH)
        self._reopen = redis.register_script(queue_scripts.REOPEN)
        self._drop = redis.register_script(queue_scripts.DROP)

    async def add(self, items: Sequence[QueueItem]) -> int:
        """Put items in; how many were new. An item that is there already stays as it is."""
        args: list[str | int] = []
        for item in items:
            places = item.overlap if item.answers else 1  # the first annotator's duel makes the answers
            args += [item.id, item.model_dump_json(), _ms(item.created_at), item.overlap, places]
            args.append(int(item.gold is not None))
        names = [keys.QUEUE_ITEMS, keys.QUEUE_OPEN, keys.QUEUE_GOLD, keys.QUEUE_PLACES, keys.QUEUE_COUNTS]
        with available():
            return int(await self._add(keys=names, args=args)) if items else 0

    async def remove(self, item: QueueItem) -> bool:
        """Take an item out; the votes on it stay."""
        names = [keys.QUEUE_ITEMS, keys.QUEUE_OPEN, keys.QUEUE_GOLD, keys.QUEUE_PLACES, keys.QUEUE_COUNTS]
        args = [item.id, item.overlap, int(item.gold is not None), DONE]
        with available():
            return bool(await self._remove(keys=[*names, keys.QUEUE_TAKEN + item.id], args=args))

    async def item(self, item_id: str) -> QueueItem | None:
        with available():
            text = await self._redis.hget(keys.QUEUE_ITEMS, item_id)
        return QueueItem.model_validate_json(text) if text else None

    async def items(self) -> list[tuple[QueueItem, int]]:
        """Every item and how many verdicts it has, newest first."""
        with available():
            texts = await self._redis.hvals(keys.QUEUE_ITEMS)
        items = [QueueItem.model_validate_json(text) for text in texts]
        items.sort(key=lambda item: item.created_at, reverse=True)
        with available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for item in items:
                    pipe.zcount(keys.QUEUE_TAKEN + item.id, DONE, "+inf")
                counts = await pipe.execute()
        return list(zip(items, counts, strict=True))

    async def reserve(self, annotator_id: str, for_s: float) -> QueueItem | None:
        """A place on the oldest item that has one free for this annotator, held for `for_s` seconds."""
        at = now()
        with available():
            item_id = await self._reserve(
                keys=[keys.QUEUE_OPEN, keys.queue_seen(annotator_id), keys.QUEUE_PLACES],
                args=[annotator_id, _ms(at), _ms(at + timedelta(seconds=for_s)), keys.QUEUE_TAKEN],
            )
        return await self.item(item_id) if item_id else None

    async def unseen_gold(self, annotator_id: str) -> list[str]:
        """Ids of items with a known verdict that this annotator has not judged."""
        with available():
            return sorted(await self._redis.sdiff(keys.QUEUE_GOLD, keys.queue_seen(annotator_id)))

    async def keep_answers(self, item: QueueItem, answers: tuple[ItemAnswer, ...]) -> QueueItem:
        """The answers that everybody else gets too; the first ones kept stay."""
        known = await self.item(item.id)
        if known is None or known.answers:
            return known or item
        kept = known.model_copy(update={"answers": answers})
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(keys.QUEUE_ITEMS, item.id, kept.model_dump_json())
                pipe.hset(keys.QUEUE_PLACES, item.id, item.overlap)
                await pipe.execute()
        return kept

    async def start(self, task: QueueTask) -> None:
        """The task is what its annotator has before them now."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(keys.QUEUE_TASKS, task.duel_id, task.model_dump_json())
                pipe.set(keys.queue_task(task.annotator_id), task.duel_id)
                await pipe.execute()

    async def task(self, duel_id: str) -> QueueTask | None:
        with available():
            text = await self._redis.hget(keys.QUEUE_TASKS, duel_id)
        return QueueTask.model_validate_json(text) if text else None

    async def current(self, annotator_id: str) -> QueueTask | None:
        """The task under way, also when it ran out."""
        with available():
            duel_id = await self._redis.get(keys.queue_task(annotator_id))
        return await self.task(duel_id) if duel_id else None

    async def drop(self, task: QueueTask) -> None:
        """Give the task back without a verdict; somebody else may have its place."""
        names = [keys.queue_task(task.annotator_id), keys.QUEUE_TAKEN + task.item_id]
        with available():
            await self._drop(keys=names, args=[task.duel_id, task.annotator_id, DONE])

    async def finish(self, task: QueueTask, item: QueueItem, verdict: Verdict) -> None:
        """The verdict is in; a later one of the same vote replaces it.

        It fills a place, unless the annotator skipped the item (somebody else may have it) or the item checks
        the annotator. The item is closed when all its places are filled.
        """
        fills = task.check is None and verdict.choice != "skip"
        with available():
            await self._finish(
                keys=_names(task),
                args=[
                    verdict.vote_id,
                    verdict.model_dump_json(),
                    item.id,
                    task.annotator_id,
                    "" if task.check else int(fills),
                    item.overlap,
                    DONE,
                    task.duel_id,
                ],
            )

    async def reopen(self, task: QueueTask, item: QueueItem, vote_id: str, for_s: float) -> None:
        """The vote was undone: its item is before the annotator again, with its place for `for_s` seconds."""
        expires_at = now() + timedelta(seconds=for_s)
        with available():
            if await self._reopen(
                keys=_names(task),
                args=[
                    *(vote_id, item.id, task.annotator_id, _ms(expires_at), _ms(item.created_at), DONE),
                    *(task.check or "", task.duel_id),
                ],
            ):
                again = task.model_copy(update={"expires_at": expires_at})
                await self._redis.hset(keys.QUEUE_TASKS, task.duel_id, again.model_dump_json())

    async def verdicts(self, annotator_id: str) -> list[Verdict]:
        """Oldest first."""
        with available():
            texts = await self._redis.hvals(keys.queue_verdicts(annotator_id))
        return sorted(map(Verdict.model_validate_json, texts), key=lambda verdict: verdict.at)

    async def annotators(self) -> list[str]:
        """Ids of those who have given a verdict."""
        with available():
            return sorted(await self._redis.smembers(keys.QUEUE_ANNOTATORS))

    async def left_for(self, annotator_id: str) -> int:
        """Open items that this annotator has not judged."""
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zdiff([keys.QUEUE_OPEN, keys.queue_seen(annotator_id)])
                (items,) = await pipe.execute()
        return len(items)

    async def progress(self) -> Progress:
        with available():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(keys.QUEUE_COUNTS, "wanted", "done")
                pipe.zcard(keys.QUEUE_OPEN)
                pipe.scard(keys.QUEUE_GOLD)
                (wanted, done), waiting, gold = await pipe.execute()
        return Progress(int(wanted or 0), int(done or 0), waiting, gold)


def _names(task: QueueTask) -> list[str]:
    return [
        keys.queue_verdicts(task.annotator_id),
        keys.queue_seen(task.annotator_id),
        keys.QUEUE_ANNOTATORS,
        keys.QUEUE_TAKEN + task.item_id,
        keys.QUEUE_OPEN,
        keys.QUEUE_COUNTS,
        keys.queue_task(task.annotator_id),
    ]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
