"""What else a restore needs, by key: versions, runs, the queue, guidelines, accounts without their passwords.

Small and changed in place, so each pass compares every item with the digest of what was archived last, and
writes those that differ. The newest line of an item is what it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

from store import keys
from store.archive.segments import Line, Segments
from store.connection import Redis, available
from store.records import now

SERIES = "state"
AT_ONCE = 1000

HASHES = (
    keys.VOTE_MARKS, keys.IMPORTS, keys.GUIDELINES_READ,
    keys.QUEUE_ITEMS, keys.QUEUE_PLACES, keys.QUEUE_COUNTS, keys.QUEUE_TASKS,
    keys.RUNS, keys.RUN_REQUESTS, keys.RUN_OPTIONS, keys.HACKING,
    keys.POLICIES, keys.POLICY_NUMBERS, keys.ACCOUNTS, keys.ACCOUNT_NAMES,
)  # fmt: skip
"""Item by item; everything else whole."""
WHOLE = (
    keys.GUIDELINES, keys.QUEUE_OPEN, keys.QUEUE_GOLD, keys.QUEUE_ANNOTATORS,
    keys.RUN_ORDER, keys.RUN_OPEN, keys.RUN_TOKENS, keys.SCHEDULE_PAUSED, keys.START_RULES,
    keys.POLICY_COUNTER, keys.POLICY_ACTIVE, keys.POLICY_CANARY, keys.POLICY_TIMELINE,
)  # fmt: skip
FAMILIES = (keys.QUEUE_TAKEN + "*", keys.queue_seen("*"), keys.queue_verdicts("*"), keys.run_alerts("*"))
"""Keys of which there is one for each item, annotator or run; whole."""

NOT_ARCHIVED = (
    "passwords, API keys, sessions, invites, set-up tokens (after a restore each admin gets a link to a new"
    " password); API responses without feedback; answers under way; who serves, works and holds leases"
)

Item = tuple[str, str | None, str, Any]
"""Key, field (None: the whole key), Redis' type, value (None: it is gone)."""


async def keep_state(redis: Redis, segments: Segments) -> int:
    """Archive every item that changed; how many."""
    with available():
        known: dict[str, str] = await redis.hgetall(keys.ARCHIVE_ITEMS)
    left = set(known)
    changed: list[Item] = []
    async for item in _items(redis):
        name = _name(item)
        left.discard(name)
        if known.get(name) != _digest(item):
            changed.append(item)
    ended = [item async for item in _of_runs(redis, changed)]
    left -= {name for name in left if name.startswith("heed:run:") and not name.startswith(_ALERTS)}
    changed += [item for item in ended if known.get(_name(item)) != _digest(item)]
    gone: list[Item] = [(*_split(name), "none", None) for name in sorted(left)]
    for start in range(0, len(changed) + len(gone), AT_ONCE):
        some = (changed + gone)[start : start + AT_ONCE]
        await asyncio.to_thread(segments.append, [_line(item) for item in some])
        with available():
            async with redis.pipeline(transaction=False) as pipe:
                for item in some:
                    if item[3] is None:
                        pipe.hdel(keys.ARCHIVE_ITEMS, _name(item))
                    else:
                        pipe.hset(keys.ARCHIVE_ITEMS, _name(item), _digest(item))
                await pipe.execute()
    return len(changed) + len(gone)


_ALERTS = keys.run_alerts("").removesuffix(":alerts") + ":alerts"


async def _items(redis: Redis) -> AsyncIterator[Item]:
    for key in HASHES:
        with available():
            fields = await redis.hgetall(key)
        for field, value in fields.items():
            yield key, field, "hash", _without_password(value) if key == keys.ACCOUNTS else value
    whole = list(WHOLE)
    for family in FAMILIES:
        with available():
            whole += [key async for key in redis.scan_iter(match=family, count=1000)]
    for key in whole:
        if (item := await _whole(redis, key)) is not None:
            yield item


async def _of_runs(redis: Redis, changed: list[Item]) -> AsyncIterator[Item]:
    """The votes and curves of the runs whose record changed and which have ended."""
    for key, run_id, _, record in changed:
        if key == keys.RUNS and run_id and json.loads(record)["ended_at"]:
            for one in (keys.run_votes(run_id), keys.run_metrics(run_id)):
                if (item := await _whole(redis, one)) is not None:
                    yield item


async def _whole(redis: Redis, key: str) -> Item | None:
    with available():
        kind = str(await redis.type(key))
        return (key, None, kind, await _value(redis, key, kind)) if kind != "none" else None


async def _value(redis: Redis, key: str, kind: str) -> Any:
    match kind:
        case "string":
            return await redis.get(key)
        case "list":
            return await redis.lrange(key, 0, -1)
        case "set":
            return sorted(await redis.smembers(key))
        case "zset":
            return await redis.zrange(key, 0, -1, withscores=True)
        case "hash":
            return await redis.hgetall(key)
        case _:
            return await redis.xrange(key)


async def write_item(pipe: Any, line: Line) -> None:
    """Give an item back to Redis."""
    key, field, value = line["key"], line["field"], line["value"]
    if field is not None:
        pipe.hset(key, field, value)
    elif line["type"] == "string":
        pipe.set(key, value)
    elif line["type"] == "list":
        pipe.rpush(key, *value)
    elif line["type"] == "set":
        pipe.sadd(key, *value)
    elif line["type"] == "zset":
        pipe.zadd(key, dict(value))
    elif line["type"] == "hash":
        pipe.hset(key, mapping=value)
    else:
        for entry, fields in value:
            pipe.xadd(key, fields, id=entry)


def _line(item: Item) -> Line:
    key, field, kind, value = item
    return {"at": int(now().timestamp() * 1000), "key": key, "field": field, "type": kind, "value": value}


def item_name(key: str, field: str | None) -> str:
    """One name for each item; keys hold no space."""
    return key if field is None else f"{key} {field}"


def _name(item: Item) -> str:
    return item_name(item[0], item[1])


def _split(name: str) -> tuple[str, str | None]:
    key, space, field = name.partition(" ")
    return key, field if space else None


def _digest(item: Item) -> str:
    return value_digest(item[3])


def value_digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def _without_password(text: str) -> str:
    return json.dumps(json.loads(text) | {"password_hash": ""}, ensure_ascii=False, separators=(",", ":"))
