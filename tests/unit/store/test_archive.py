"""The archive holds everything that a restore needs, once; an empty Redis filled from it is the same."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store import keys
from store.archive.conversations import keep_conversations
from store.archive.keep import Limits, Pass, keep
from store.archive.manifest import ArchiveError
from store.archive.restore import bring, restore
from store.archive.segments import Segments
from store.archive.streams import keep_stream
from store.archive.verify import verify
from store.audit import Audit
from store.connection import Redis
from store.conversations import Conversations
from store.explorer.index import VoteIndex
from store.records import Vote, now
from store.search import Search
from store.trash import GRACE, Trash
from store.votes import AlreadyVoted, VoteLog
from tests.archive_parts import Ask, Asked, everything, live, voted
from tests.present import present

pytestmark = pytest.mark.anyio

SMALL = Limits(segment_bytes=1, hot_votes=2, rest_s=None)
"""Every pass seals what it wrote; old votes leave Redis."""
COLD = Limits(segment_bytes=1, hot_votes=2, rest_s=0.0)
"""And conversations leave it at once."""
LARGE = Limits(rest_s=None)


async def passes(client: Redis, volume: Path, limits: Limits, times: int = 1) -> Pass:
    for _ in range(times):
        done = present(await keep(client, volume, limits))
    return done


@pytest.mark.parametrize("limits", [LARGE, SMALL], ids=["open segments", "sealed segments, trimmed log"])
async def test_an_empty_redis_filled_from_the_archive_is_the_old_one(
    client: Redis, volume: Path, ask: Ask, limits: Limits
) -> None:
    await live(client, volume, ask)
    before = await everything(client, without=("heed:archive:", "heed:feed"))
    audit = (await Audit(client).verify()).head
    await passes(client, volume, limits)
    await client.flushall()
    report = verify(volume / "archive")
    restored = await restore(client, volume / "archive")
    after = await everything(client, without=("heed:archive:", "heed:feed"))
    assert after == before
    assert restored.votes == len(before[keys.VOTES]) == report.lines["votes"]
    assert (restored.audit, len(restored.admins)) == (3, 1)
    assert (await Audit(client).verify())[1:] == (None, None, audit)
    assert (await passes(client, volume, LARGE)).written == 0


async def test_old_votes_and_conversations_are_read_from_the_archive(
    client: Redis, volume: Path, ask: Ask
) -> None:
    made = await live(client, volume, ask)
    hot = await everything(client)

    async def seen() -> Any:
        votes, conversations = VoteLog(client, volume), Conversations(client, volume)
        rows = (await VoteIndex(client, volume).refresh()).rows
        said = [
            (
                await conversations.get(vote.conversation_id),
                await conversations.messages(vote.conversation_id),
                await conversations.answers(vote.conversation_id),
                await conversations.duels(vote.conversation_id),
                [await conversations.answer(one.answer_id) for one in vote.answers],
                await conversations.duel(vote.duel_id) if vote.duel_id else None,
            )
            for vote in made
        ]
        log = (
            await votes.read(),
            await votes.changes("0", 100),
            [await votes.history(vote.id) for vote in made],
            await votes.by_annotator("ann"),
            await votes.several([vote.id for vote in made]),
            [await votes.pending(entry) for entry, _ in await votes.changes("0", 100)],
            await votes.pending("0"),
            await votes.first_after("0"),
        )
        hits = await Search(client, volume).find("ann", "nile")
        return rows, said, log, await conversations.of_owner("ann"), hits

    before = await seen()
    await passes(client, volume, COLD, times=2)
    assert await client.xlen(keys.VOTES) == 2
    for key in (keys.CONVERSATIONS, keys.ANSWER_PLACE, keys.DUEL_PLACE):
        assert not await client.exists(key)
    assert not await client.keys("heed:conversation:*")
    assert await seen() == before
    await client.flushall()
    await restore(client, volume / "archive")
    assert await everything(client) == hot


async def test_what_is_written_to_wakes(client: Redis, volume: Path, ask: Ask) -> None:
    votes, conversations = VoteLog(client, volume), Conversations(client, volume)
    asked, other = await ask(client), await ask(client)
    first = voted("duel", "a", asked)
    await votes.cast(first, asked.duel)
    await passes(client, volume, COLD, times=2)
    assert await client.hlen(keys.CONVERSATIONS) == 0
    second = voted("duel", "b", other)
    assert (await votes.cast(second, other.duel))[1]
    assert present(await conversations.duel(other.duel.id)).vote_id == second.id
    await votes.undo(first.id, "ann")
    assert present(await conversations.duel(asked.duel.id)).vote_id is None
    await passes(client, volume, COLD, times=2)
    assert (await conversations.change(asked.conversation, title="New")).title == "New"
    await passes(client, volume, COLD, times=2)
    edited = asked.answers[0].model_copy(update={"text": "changed"})
    assert await conversations.save_answer(edited)
    await passes(client, volume, COLD, times=2)
    assert present(await conversations.answer(edited.id)).text == "changed"
    assert present(await conversations.get(asked.conversation.id)).title == "New"
    assert await client.hlen(keys.CONVERSATIONS) == 0


async def test_deleted_texts_leave_the_archive_too(client: Redis, volume: Path, ask: Ask) -> None:
    conversations, trash = Conversations(client, volume), Trash(client, volume)
    asked, other = await ask(client), await ask(client)
    await passes(client, volume, COLD, times=2)
    await trash.put(asked.conversation, now())
    await passes(client, volume, COLD)
    assert await conversations.get(asked.conversation.id) is None
    assert await trash.take_back(asked.conversation)
    await passes(client, volume, COLD, times=2)
    assert await conversations.answers(asked.conversation.id) == list(asked.answers)
    await trash.put(asked.conversation, now())
    await trash.empty(now() + GRACE)
    assert await conversations.answer(asked.answers[0].id) is None
    await passes(client, volume, COLD)
    for path in (volume / "archive").glob("conversations-*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            assert line["id"] != asked.conversation.id or "conversation" not in line
    assert verify(volume / "archive").lines["conversations"] == 4
    assert await conversations.get(asked.conversation.id) is None
    assert await conversations.answers(other.conversation.id) == list(other.answers)
    await client.flushall()
    assert (await restore(client, volume / "archive")).conversations == 1


async def test_a_changed_or_missing_segment_is_named(
    client: Redis, volume: Path, ask: Ask, tmp_path: Path
) -> None:
    await live(client, volume, ask)
    await passes(client, volume, SMALL)
    folder = volume / "archive"
    whole = {path.name: path.read_bytes() for path in folder.glob("*-*.jsonl")}
    assert set(whole) >= {"votes-000001.jsonl", "conversations-000001.jsonl", "state-000001.jsonl"}
    for name, data in whole.items():
        (folder / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(ArchiveError, match=f"{name} is not what was sealed"):
            verify(folder)
        (folder / name).unlink()
        with pytest.raises(ArchiveError, match=f"{name} is missing"):
            verify(folder)
        (folder / name).write_bytes(data)
    manifest = folder / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.raises(ArchiveError, match="line 2 does not follow"):
        verify(folder)
    manifest.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(ArchiveError, match=r"is not in manifest|is missing"):
        verify(folder)
    manifest.write_bytes(b"".join(lines))
    assert verify(folder).segments == len(lines)
    with pytest.raises(ArchiveError, match="Redis is not empty"):
        await restore(client, folder)


async def test_an_archive_of_another_redis_is_left_alone(
    client: Redis, volume: Path, ask: Ask, tmp_path: Path
) -> None:
    await live(client, volume, ask)
    await passes(client, volume, LARGE)
    await client.flushall()
    await ask(client)
    with pytest.raises(ArchiveError, match="another Redis"):
        await keep(client, volume, LARGE)
    await client.flushall()
    (tmp_path / "new").mkdir()
    await restore(client, bring(volume / "archive", tmp_path / "new"))
    assert (await passes(client, tmp_path / "new", LARGE)) is not None
    with pytest.raises(ArchiveError, match="is not empty"):
        bring(volume / "archive", tmp_path / "new")


async def test_a_lost_folder_is_written_again_unless_redis_holds_less(
    client: Redis, volume: Path, ask: Ask
) -> None:
    await live(client, volume, ask)
    await passes(client, volume, LARGE)
    first = verify(volume / "archive").lines
    shutil.rmtree(volume / "archive")
    await passes(client, volume, LARGE)
    assert verify(volume / "archive").lines == first
    await passes(client, volume, COLD, times=2)
    shutil.rmtree(volume / "archive")
    with pytest.raises(ArchiveError, match="put the archive back"):
        await keep(client, volume, LARGE)


async def test_redis_lost_in_the_middle_of_a_pass_leaves_duels_as_the_log_has_them(
    client: Redis, volume: Path, ask: Ask
) -> None:
    folder, votes = volume / "archive", VoteLog(client, volume)
    one, other = await ask(client), await ask(client)
    await passes(client, volume, LARGE)
    first, second = voted("duel", "a", one), voted("duel", "b", other)
    await votes.cast(first, one.duel)
    await keep_stream(client, Segments(folder, "votes"))  # its conversation is not archived any more
    await votes.cast(second, other.duel)
    await client.zrem(keys.ARCHIVE_CHANGED, one.conversation.id)
    await keep_conversations(client, Segments(folder, "conversations"))  # nor this vote
    await client.flushall()
    await restore(client, folder)
    with pytest.raises(AlreadyVoted):
        await votes.cast(voted("duel", "b", one), one.duel)
    assert (await votes.cast(voted("duel", "b", other), other.duel))[1]


def test_what_a_power_cut_tore_is_cut_off(tmp_path: Path) -> None:
    segments = Segments(tmp_path, "votes")
    segments.recover()
    segments.append([{"at": 1, "entry": "1-0", "fields": {}}])
    path = tmp_path / "votes-000001.open.jsonl"
    good = path.read_bytes()
    for torn in (b'{"at":2,"ent', b"\0" * 5000, b"\0" * 10 + b"}\n", b'{"at":2,"entry":"2-0"}'):
        path.write_bytes(good + torn)
        segments.recover()
        assert path.read_bytes() == good
        assert present(segments.last())["entry"] == "1-0"


ARCHIVERS = """
import asyncio, os, sys
from pathlib import Path
from store.archive.keep import Limits, keep
from store.connection import connect

async def archive():
    async with connect(sys.argv[1]) as redis:
        while True:
            await keep(redis, Path(sys.argv[2]), Limits(segment_bytes=3000, hot_votes=50, rest_s=0.05))

for _ in sys.stdin:  # each line starts one, which is killed
    if not (child := os.fork()):
        asyncio.run(archive())
    print(child, flush=True)
    os.waitpid(child, 0)
"""


@pytest.fixture
def starter(redis_url: str, volume: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", ARCHIVERS, redis_url, str(volume)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


async def test_killed_at_any_moment_it_loses_nothing_and_writes_nothing_twice(
    client: Redis, volume: Path, ask: Ask, starter: subprocess.Popen[str]
) -> None:
    votes, chance = VoteLog(client, volume), random.Random(5)
    said: list[tuple[Vote, Asked]] = []
    assert starter.stdin is not None
    assert starter.stdout is not None
    for _ in range(25):
        print(file=starter.stdin, flush=True)
        archiver = int(starter.stdout.readline())
        for _ in range(4):
            asked = await ask(client)
            vote = voted("duel", "a", asked)
            await votes.cast(vote, asked.duel)
            said.append((vote, asked))
        await asyncio.sleep(chance.uniform(0, 0.1))
        os.kill(archiver, signal.SIGKILL)
    starter.stdin.close()
    await asyncio.to_thread(starter.wait)
    await passes(client, volume, COLD, times=2)
    report = verify(volume / "archive")
    entries = [line["entry"] for _, line in Segments(volume / "archive", "votes").lines()]
    assert len(entries) == len(set(entries)) == len(said) == report.lines["votes"]
    assert report.segments > 2
    assert [vote.id for _, vote in await votes.read()] == [vote.id for vote, _ in said]
    conversations = Conversations(client, volume)
    for _, asked in said:
        assert await conversations.answers(asked.conversation.id) == list(asked.answers)
    await client.flushall()
    assert (await restore(client, volume / "archive")).votes == len(said)
    assert [vote.id for _, vote in await votes.read()] == [vote.id for vote, _ in said]


def test_two_processes_do_not_write_at_once(tmp_path: Path) -> None:
    from store.archive.keep import _alone

    with _alone(tmp_path) as first, _alone(tmp_path) as second:
        assert (first, second) == (True, False)
    assert os.path.exists(tmp_path / ".lock")
