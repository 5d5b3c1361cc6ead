"""Changes of votes: entries of the log like the votes, with counts that stay right."""

from __future__ import annotations

import asyncio
import json
import random
import signal

import pytest

from store import keys
from store.connection import Redis, connect
from store.conversations import Conversations
from store.lineage import Lineage
from store.records import Exclusion, Vote, VotedAnswer, new_id, now
from store.trash import GRACE, Trash
from store.votes import AlreadyVoted, IdempotencyConflict, VoteLog, VoteUndone
from tests.archive_parts import Ask, VoteOn
from tests.conftest import RedisServer
from tests.present import present

pytestmark = pytest.mark.anyio


async def test_an_undone_vote_opens_its_duel_again_and_stays_in_the_log(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel)
    undone = await votes.undo(vote.id, "ann")
    assert undone.status == "undone"
    assert await votes.get(vote.id) == undone
    duel = present(await Conversations(client).duel(asked.duel.id))
    assert (duel.vote_id, duel.revealed) == (None, True)
    again, created = await votes.cast(vote_on(duel, "b", "k2"), duel)
    assert created
    assert [one.choice for _, one in await votes.read()] == ["a", "b"]
    # The first key still means the first vote: a late repeat must not cast it anew.
    assert await votes.cast(vote_on(duel, "a", "k1"), duel) == (undone, False)
    with pytest.raises(VoteUndone):
        await votes.amend(vote.id, "ann", choice="b")
    with pytest.raises(AlreadyVoted) as refused:
        await votes.cast(vote_on(duel, "a", "k3"), duel)
    assert refused.value.vote_id == again.id


async def test_undoing_an_older_vote_leaves_the_newer_one_of_its_duel(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    first, _ = await votes.cast(vote_on(asked.duel, "a"), asked.duel)
    await votes.undo(first.id, "ann")
    second, _ = await votes.cast(vote_on(asked.duel, "b"), asked.duel)
    await votes.undo(first.id, "ann")
    assert present(await Conversations(client).duel(asked.duel.id)).vote_id == second.id


async def test_counts_after_every_mark_are_those_of_the_votes_as_they_are(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, chance = VoteLog(client), random.Random(7)
    cast: list[str] = []
    for _ in range(120):
        act = chance.random()
        if act < 0.4 or not cast:
            asked = await ask(client)
            vote = vote_on(asked.duel, chance.choice(("a", "b", "tie", "skip")))
            if chance.random() < 0.2:
                why = Exclusion(by="heed", reason="leak", at=now())
                vote = vote.model_copy(update={"status": "excluded", "exclusion": why})
            cast.append((await votes.cast(vote, asked.duel))[0].id)
            continue
        one = chance.choice(cast)
        try:
            if act < 0.55:
                await votes.undo(one, "ann")
            elif act < 0.7:
                await votes.exclude(one, "rev", "spam")
            elif act < 0.85:
                await votes.restore(one, "rev")
            else:
                await votes.amend(one, "ann", choice=chance.choice(("a", "b", "tie")))
        except VoteUndone:
            pass
    log = await votes.read()
    assert [vote.id for _, vote in log] == cast
    counts = [vote.makes_pair for _, vote in log]
    assert 5 < sum(counts) < len(counts) - 5
    for place, (entry, _) in enumerate(log):
        assert await votes.pending(entry) == sum(counts[place + 1 :])
    assert await votes.pending("0") == sum(counts)
    out = await client.smembers(keys.VOTE_OUT)
    assert out == {vote.id for _, vote in log if vote.status != "active"}


async def test_excluded_and_restored_with_who_when_and_why(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel), asked.duel)
    excluded = await votes.exclude(vote.id, "rev", "spam")
    exclusion = present(excluded.exclusion)
    assert (excluded.status, exclusion.by, exclusion.reason) == ("excluded", "rev", "spam")
    assert await votes.exclude(vote.id, "other", "again") == excluded
    assert present(await Conversations(client).duel(asked.duel.id)).vote_id == vote.id
    restored = await votes.restore(vote.id, "boss")
    assert (restored.status, restored.exclusion) == ("active", None)
    history = await votes.history(vote.id)
    assert [(one.what, one.by) for one in history] == [
        ("cast", "ann"),
        ("exclude", "rev"),
        ("restore", "boss"),
    ]
    assert [one.vote.status for one in history] == ["active", "excluded", "active"]
    assert await votes.history("vote_none") == []
    with pytest.raises(KeyError):
        await votes.exclude("vote_none", "rev", "spam")


async def test_a_read_up_to_an_entry_shows_the_votes_as_they_were_then(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel), asked.duel)
    await votes.exclude(vote.id, "rev", "spam")
    between = (await client.xrevrange(keys.VOTES, count=1))[0][0]
    await votes.restore(vote.id, "rev")
    assert [one.status for _, one in await votes.read(through=between)] == ["excluded"]
    assert [one.status for _, one in await votes.read()] == ["active"]
    assert await votes.total() == 1


async def test_changes_at_once_are_all_kept(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel), asked.duel)
    tags = [votes.amend(vote.id, "ann", comment=str(number)) for number in range(10)]
    await asyncio.gather(
        *tags, votes.exclude(vote.id, "rev", "spam"), votes.amend(vote.id, "ann", tags=("x",))
    )
    now_is = present(await votes.get(vote.id))
    assert (now_is.status, now_is.tags) == ("excluded", ("x",))
    assert len(await votes.history(vote.id)) == 13
    assert await votes.pending("0") == 0


async def test_the_same_key_after_an_amendment_is_still_the_same_vote(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel)
    amended = await votes.amend(vote.id, "ann", comment="it rhymes", strength=2)
    assert await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel) == (amended, False)
    with pytest.raises(IdempotencyConflict):
        await votes.cast(vote_on(asked.duel, "a", "k1").model_copy(update={"strength": 2}), asked.duel)


async def test_votes_of_version_0_1_load_count_and_can_be_changed(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote = vote_on(asked.duel, "a", "k1")
    old = {
        name: value
        for name, value in json.loads(vote.model_dump_json()).items()
        if name in {"id", "kind", "conversation_id", "duel_id", "answer_id", "annotator_id", "choice"}
        or name in {"version_a", "version_b", "comment", "shown_ms", "idempotency_key", "created_at"}
    }
    entry = await client.xadd(keys.VOTES, {"vote": json.dumps(old), "pairs": 1})
    await client.hset(keys.VOTE_KEYS, "ann:k1", entry)
    await client.hset(keys.VOTE_BY_ID, vote.id, entry)
    assert await votes.get(vote.id) == vote
    assert await votes.cast(vote_on(asked.duel, "a", "k1"), asked.duel) == (vote, False)
    assert await votes.pending("0") == 1
    await votes.exclude(vote.id, "rev", "spam")
    assert await votes.pending("0") == 0
    other = await ask(client)
    await votes.cast(vote_on(other.duel, "b"), other.duel)
    assert await votes.pending("0") == 1


async def test_an_ideal_answer_is_saved_with_its_vote_or_not_at_all(client: Redis, ask: Ask) -> None:
    votes, conversations, asked = VoteLog(client), Conversations(client), await ask(client)
    original = asked.answers[0]
    edited = original.model_copy(update={"id": new_id("ans"), "text": "Amazon.", "edited_from": original.id})
    vote = Vote(
        id=new_id("vote"),
        kind="edit",
        conversation_id=asked.conversation.id,
        answer_id=original.id,
        annotator_id="ann",
        choice="edited",
        answers=tuple(
            VotedAnswer(answer_id=one.id, version=1, position=place)
            for place, one in enumerate((original, edited), 1)
        ),
        idempotency_key="k",
        created_at=now(),
    )
    await votes.cast(vote, edited=edited)
    assert await conversations.answer(edited.id) == edited
    assert await votes.pending("0") == 1
    await Trash(client).put(asked.conversation, now())
    await Trash(client).empty(now() + GRACE)
    late = vote.model_copy(update={"id": new_id("vote"), "idempotency_key": "k2"})
    with pytest.raises(AlreadyVoted, match="deleted"):
        await votes.cast(late, edited=edited)
    assert await conversations.answer(edited.id) is None
    assert await votes.total() == 1


async def test_an_undone_thumb_is_no_thumb(client: Redis) -> None:
    votes = VoteLog(client)
    vote = Vote(
        id=new_id("vote"),
        kind="thumb",
        conversation_id="conv_1",
        answer_id="ans_1",
        annotator_id="ann",
        choice="up",
        idempotency_key="k",
        created_at=now(),
    )
    await votes.cast(vote)
    await votes.undo(vote.id, "ann")
    assert await votes.thumbs("ann", ["ans_1"]) == {}


async def test_acknowledged_changes_survive_kill_9_of_the_server(
    redis_server: RedisServer, ask: Ask, vote_on: VoteOn
) -> None:
    async with connect(redis_server.url) as client:
        votes, asked = VoteLog(client), await ask(client)
        vote, _ = await votes.cast(vote_on(asked.duel), asked.duel)
        undone = await votes.undo(vote.id, "ann")
        redis_server.stop(signal.SIGKILL)
        await asyncio.to_thread(redis_server.start)
        assert await votes.get(vote.id) == undone
        assert present(await Conversations(client).duel(asked.duel.id)).vote_id is None
        assert await votes.pending("0") == 0


async def test_a_version_is_tainted_by_votes_that_stopped_counting(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, lineage, cast = VoteLog(client), Lineage(client), []
    for _ in range(4):
        asked = await ask(client)
        cast.append((await votes.cast(vote_on(asked.duel), asked.duel))[0].id)
    await lineage.record("run_1", cast[:3])
    await lineage.record("run_1", cast[:3])
    await lineage.record("run_2", cast[2:])
    await votes.exclude(cast[0], "rev", "spam")
    await votes.undo(cast[1], "ann")
    await votes.exclude(cast[3], "rev", "spam")
    assert await lineage.tainted_by("run_1") == set(cast[:2])
    assert await lineage.used_in(cast[2], ["run_1", "run_2", "run_3"]) == ["run_1", "run_2"]
    await votes.restore(cast[0], "rev")
    assert await lineage.tainted_by("run_1") == {cast[1]}


async def test_my_votes_come_page_by_page(client: Redis, ask: Ask, vote_on: VoteOn) -> None:
    votes, cast = VoteLog(client), []
    for _ in range(5):
        asked = await ask(client)
        cast.append((await votes.cast(vote_on(asked.duel), asked.duel))[0].id)
    first = await votes.by_annotator("ann", 2)
    assert [vote.id for vote in first] == [cast[4], cast[3]]
    assert [vote.id for vote in await votes.by_annotator("ann", 2, before=cast[3])] == [cast[2], cast[1]]
    assert await votes.by_annotator("ann", 2, before="vote_none") == []
    oldest = present(await votes.get(cast[0]))
    assert await votes.count_since("ann", oldest.created_at.replace(year=2000)) == 5
    assert await votes.count_since("ann", now().replace(year=2100)) == 0


async def test_a_flag_excludes_once_and_never_what_somebody_restored(
    client: Redis, ask: Ask, vote_on: VoteOn
) -> None:
    votes, asked = VoteLog(client), await ask(client)
    vote, _ = await votes.cast(vote_on(asked.duel, "a"), asked.duel)
    marked = await votes.flag(vote.id, "heed", ["one_side"], None)
    assert (marked.flags, marked.status) == (("one_side",), "active")
    other = await ask(client)
    vote, _ = await votes.cast(vote_on(other.duel, "a"), other.duel)
    flagged = await votes.flag(vote.id, "heed", ["too_quick"], "too quick")
    assert (flagged.status, present(flagged.exclusion).reason) == ("excluded", "too quick")
    assert await votes.pending("0") == 1
    assert await votes.flag(vote.id, "heed", ["too_quick"], "too quick") == flagged
    await votes.restore(vote.id, "acc_1")
    again = await votes.flag(vote.id, "heed", ["duplicate"], "voted on again")
    assert (again.flags, again.status) == (("duplicate", "too_quick"), "active")
    assert await votes.pending("0") == 2
    assert [change.what for change in await votes.history(vote.id)] == ["cast", "flag", "restore", "flag"]
    await votes.undo(vote.id, "ann")
    with pytest.raises(VoteUndone):
        await votes.flag(vote.id, "heed", ["same_key"], "habit")
