"""An empty Redis filled from an archive: the streams as they were, and every index made again from them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from store import keys
from store.archive import conversations, opinions, state
from store.archive.conversations import KINDS
from store.archive.keep import IDENTITY
from store.archive.manifest import ArchiveError
from store.archive.opinions import restore_opinions
from store.archive.segments import Line, Place, Segments
from store.archive.state import item_name, value_digest, write_item
from store.archive.streams import STREAMS
from store.archive.vote_rows import archive_folder
from store.audit import Audit
from store.connection import Redis, available
from store.records import Account, Conversation, Duel, Record, Vote
from store.stream_ids import padded

AT_ONCE = 500

# Of nothing anybody knows: nobody signs in with it.
NO_PASSWORD = (
    "$argon2id$v=19$m=19456,t=2,p=1$rJToHpGYpn1H+67qC4Q1SA$wo2EksjTuXcoUhQKbuh8XtnFPHYb7/e1rtMpt7CkFdU"
)


class Restored(Record):
    """What was given back to Redis."""

    votes: int
    """Entries of the log: casts and changes."""
    conversations: int
    items: int
    """Versions, runs, accounts and so on."""
    audit: int
    admins: tuple[str, ...]
    """Ids of the accounts that need a new password first."""


def bring(source: Path, volume: Path) -> Path:
    """The archive as this volume's own: copied there, unless it is that. Raises ArchiveError."""
    target = archive_folder(volume)
    if source.resolve() == target.resolve():
        return target
    if target.exists() and any(path.name != ".lock" for path in target.iterdir()):
        raise ArchiveError(f"{target} is not empty: move it away, or restore from it")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


async def restore(redis: Redis, folder: Path) -> Restored:
    """Fill an empty Redis. Raises ArchiveError when it is not empty; verify the archive first."""
    with available():
        for key in (keys.VOTES, keys.CONVERSATIONS, keys.ACCOUNTS, keys.POLICIES):
            if await redis.exists(key):
                raise ArchiveError(f"Redis is not empty ({key} is there): restore into an empty one")
    items, admins = await _state(redis, Segments(folder, state.SERIES))
    replay = _Replay()
    restored = Restored(
        items=items,
        admins=admins,
        votes=await _stream(redis, Segments(folder, "votes"), replay),
        conversations=await _conversations(redis, Segments(folder, conversations.SERIES), replay.decided),
        audit=await _stream(redis, Segments(folder, "audit")),
    )
    await _stream(redis, Segments(folder, "reviews"))
    await restore_opinions(redis, Segments(folder, opinions.SERIES))
    await Audit(redis).seal()
    with available():
        await redis.set(keys.ARCHIVE_ID, (folder / IDENTITY).read_text().strip())
    return restored


async def _state(redis: Redis, segments: Segments) -> tuple[int, tuple[str, ...]]:
    newest: dict[str, Line] = {}
    for _, line in segments.lines():
        newest[item_name(line["key"], line["field"])] = line
    kept = [line for line in newest.values() if line["value"] is not None]
    admins = []
    async with _writing(redis) as pipe:
        for line in kept:
            name = item_name(line["key"], line["field"])
            pipe.hset(keys.ARCHIVE_ITEMS, name, value_digest(line["value"]))
            if line["key"] == keys.ACCOUNTS:
                account = Account.model_validate_json(line["value"])
                account = account.model_copy(update={"password_hash": NO_PASSWORD})
                line = line | {"value": account.model_dump_json()}
                if account.role == "admin" and account.disabled_at is None:
                    admins.append(account.id)
            await write_item(pipe, line)
            await pipe.soon()
    return len(kept), tuple(admins)


async def _conversations(redis: Redis, segments: Segments, decided: dict[str, str]) -> int:
    """Each as its newest line has it, but duels decided as the vote log says.

    When Redis was lost in the middle of a pass, a conversation's line may be older or newer than the log.
    """
    newest: dict[str, Place | None] = {}
    for place, line in segments.lines():
        newest[line["id"]] = place if "conversation" in line else None
    count = 0
    async with _writing(redis) as pipe:
        for place, line in segments.lines():
            if newest[line["id"]] != place:
                continue
            count += 1
            name = line["id"]
            conversation = Conversation.model_validate_json(line["conversation"])
            pipe.hset(keys.CONVERSATIONS, name, line["conversation"])
            pipe.hset(keys.ARCHIVED, name, str(place))
            if line["listed"]:
                at = conversation.updated_at.timestamp()
                pipe.zadd(keys.by_owner(conversation.owner_id), {name: at})
            line["duels"] = {one: _decided(text, decided.get(one)) for one, text in line["duels"].items()}
            for kind in KINDS:
                if line[kind]:
                    pipe.hset(keys.nodes(name, kind), mapping=line[kind])
            for kind, places in (("answers", keys.ANSWER_PLACE), ("duels", keys.DUEL_PLACE)):
                if line[kind]:
                    pipe.hset(places, mapping=dict.fromkeys(line[kind], name))
            await pipe.soon()
    return count


def _decided(text: str, vote_id: str | None) -> str:
    duel = Duel.model_validate_json(text)
    return text if duel.vote_id == vote_id else duel.model_copy(update={"vote_id": vote_id}).model_dump_json()


async def _stream(redis: Redis, segments: Segments, replay: _Replay | None = None) -> int:
    count = 0
    async with _writing(redis) as pipe:
        for _, line in segments.lines():
            count += 1
            pipe.xadd(STREAMS[segments.series], line["fields"], id=line["entry"])
            if replay is not None:
                replay.entry(pipe, line["entry"], line["fields"])
            await pipe.soon()
    return count


class _Replay:
    """The vote log's indexes, as its two scripts (`store/vote_scripts.py`) keep them."""

    def __init__(self) -> None:
        self._paired: dict[str, bool] = {}
        """Entry of a cast -> whether it made a pair then."""
        self._thumbs: dict[str, str] = {}
        self.decided: dict[str, str] = {}
        """Duel -> the vote that decided it."""

    def entry(self, pipe: Any, entry: str, fields: dict[str, str]) -> None:
        vote = Vote.model_validate_json(fields["vote"])
        thumb = f"{vote.annotator_id}:{vote.answer_id}" if vote.kind == "thumb" else ""
        if vote.duel_id and vote.status != "undone":
            self.decided[vote.duel_id] = vote.id
        elif vote.duel_id and self.decided.get(vote.duel_id) == vote.id:
            del self.decided[vote.duel_id]
        if "of" not in fields:
            pipe.hset(keys.VOTE_KEYS, f"{vote.annotator_id}:{vote.idempotency_key}", entry)
            pipe.hset(keys.VOTE_BY_ID, vote.id, entry)
            pipe.lpush(keys.votes_of(vote.annotator_id), entry)
            self._paired[entry] = vote.makes_pair
            if vote.status != "active":
                pipe.sadd(keys.VOTE_OUT, vote.id)
            if thumb:
                pipe.hset(keys.THUMBS, thumb, vote.choice)
                self._thumbs[thumb] = vote.choice
            return
        cast = fields["of"]
        pipe.hset(keys.VOTE_LATEST, cast, entry)
        pipe.srem(keys.VOTE_OUT, vote.id) if vote.status == "active" else pipe.sadd(keys.VOTE_OUT, vote.id)
        edge = padded(cast)
        pipe.zrem(keys.VOTE_RECOUNTS, f"in {edge}", f"out {edge}")
        if vote.makes_pair != self._paired[cast]:
            pipe.zadd(keys.VOTE_RECOUNTS, {f"{'in' if vote.makes_pair else 'out'} {edge}": 0})
        if thumb and fields["what"] == "undo" and self._thumbs.get(thumb) == vote.choice:
            pipe.hdel(keys.THUMBS, thumb)
            self._thumbs.pop(thumb)


class _Batch:
    """A pipeline that is sent whenever it holds enough."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    async def soon(self) -> None:
        if len(self._pipe.command_stack) >= AT_ONCE:
            with available():
                await self._pipe.execute()


@asynccontextmanager
async def _writing(redis: Redis) -> AsyncIterator[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        yield _Batch(pipe)
        with available():
            await pipe.execute()
