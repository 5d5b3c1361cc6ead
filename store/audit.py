"""The audit log: who did what to what. Append-only, and a chain of hashes shows whether it was tampered with.

Entries are plain: scripts that change something add theirs in the same step as the change. Each gets a seal
soon after, in a second stream under the same id: the SHA-256 of the seal before, the entry's id and its text.
Changing, removing, inserting or reordering entries breaks the chain at that place, and a cut end does not fit
the head. Who can write to Redis could still forge all of it: keep the newest hash or an export elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import NamedTuple

from store import keys
from store.connection import Redis, available
from store.records import AuditEvent

CHUNK = 500

# Seals are the same whoever computes them, so who comes second has nothing to do.
# KEYS: seals, head. ARGV: id of the seal before or '', then id and hash of each new one.
_SEAL = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (last and last[1] or '') ~= ARGV[1] then return 'moved' end
for i = 2, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[i], 'hash', ARGV[i + 1]) end
redis.call('SET', KEYS[2], ARGV[#ARGV])
return 'ok'
"""


class Entry(NamedTuple):
    """One event as it is stored, with its seal."""

    id: str
    event: AuditEvent
    hash: str
    previous_hash: str


class Verdict(NamedTuple):
    """What a look at the whole chain found."""

    entries: int
    broken_at: str | None
    """Id of the first entry that does not fit; `head` when the end is missing."""
    reason: str | None
    head: str
    """Hash of the newest entry: noted elsewhere, it proves later that nothing before it was changed."""


class Audit:
    """Raises StoreUnavailable when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seal = redis.register_script(_SEAL)

    async def append(self, event: AuditEvent) -> None:
        """Write the event at the end, sealed."""
        with available():
            await self._redis.xadd(keys.AUDIT, {"event": event.model_dump_json()})
        await self.seal()

    async def seal(self) -> None:
        """Seal what has no seal yet, whoever wrote it."""
        while True:
            with available():
                sealed = await self._redis.xrevrange(keys.AUDIT_SEALS, count=1)
                last, hash_ = (sealed[0][0], sealed[0][1]["hash"]) if sealed else ("", "")
                rows = await self._redis.xrange(keys.AUDIT, min=f"({last}" if last else "-", count=CHUNK)
            if not rows:
                return
            args = [last]
            for entry, fields in rows:
                hash_ = _hash(hash_, entry, fields.get("event", ""))
                args += [entry, hash_]
            with available():
                await self._seal(keys=[keys.AUDIT_SEALS, keys.AUDIT_HEAD], args=args)

    async def newest(self, limit: int = 100) -> list[AuditEvent]:
        """Newest first."""
        return [entry.event for entry in await self.page(limit)]

    async def page(self, limit: int, before: str = "+") -> list[Entry]:
        """Entries older than the id `before`, newest first."""
        await self.seal()
        top = before if before == "+" else f"({before}"
        with available():
            rows = await self._redis.xrevrange(keys.AUDIT, max=top, count=limit)
            seals = await self._redis.xrevrange(keys.AUDIT_SEALS, max=top, count=limit + 1)
        hashes = [(entry, fields["hash"]) for entry, fields in seals]
        before_of = {entry: older for (entry, _), (_, older) in pairwise(hashes)}
        known = dict(hashes)
        return [
            Entry(
                entry,
                AuditEvent.model_validate_json(fields["event"]),
                known.get(entry, ""),
                before_of.get(entry, ""),
            )
            for entry, fields in rows
        ]

    async def verify(self) -> Verdict:
        """Recompute the whole chain and name the first entry that does not fit."""
        await self.seal()
        count, hash_ = 0, ""
        seals = self._all(keys.AUDIT_SEALS)
        async for entry, fields in self._all(keys.AUDIT):
            sealed = await anext(seals, None)
            count += 1
            hash_ = _hash(hash_, entry, fields.get("event", ""))
            if sealed is None:
                return Verdict(count, entry, "this entry was never sealed: it was put in later", "")
            if sealed[0] != entry or sealed[1]["hash"] != hash_:
                return Verdict(count, entry, _what_is_wrong(entry, sealed[0]), hash_)
        with available():
            head = await self._redis.get(keys.AUDIT_HEAD) or ""
        if await anext(seals, None) is not None or head != hash_:
            return Verdict(count, "head", "the newest entries were removed", head)
        return Verdict(count, None, None, head)

    async def _all(self, key: str) -> AsyncIterator[tuple[str, dict[str, str]]]:
        after = "-"
        while True:
            with available():
                rows = await self._redis.xrange(key, min=after, count=CHUNK)
            for entry, fields in rows:
                yield entry, fields
            if len(rows) < CHUNK:
                return
            after = f"({rows[-1][0]}"


def _what_is_wrong(entry: str, sealed: str) -> str:
    if sealed == entry:
        return "this entry was changed: it does not match its seal"
    return "an entry before this one was removed, or this one was put in later"


def _hash(previous: str, entry: str, text: str) -> str:
    return hashlib.sha256(f"{previous}\n{entry}\n{text}".encode()).hexdigest()
