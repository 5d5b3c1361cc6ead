"""Blind means blind: before the vote nothing that is sent tells the two sides' versions apart."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from server.settings import ServerSettings
from server.shapes import answer_out
from store.records import Answer, PolicyVersion, Sampling, now
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, serving

# Long enough not to stand in an id or a time by chance.
OLD, NEW = 7_341_734_173_417, 8_252_825_282_528


@pytest.fixture
async def canary(settings: ServerSettings) -> AsyncIterator[Heed]:
    """A canary in every conversation: each duel is the candidate against the active version."""
    async with serving(settings, ScriptedPool(OLD, NEW)) as heed:
        policies = heed.parts.policies
        for number in (OLD, NEW):
            folder = f"v{number}"
            await policies.register(
                PolicyVersion(number=number, folder=folder, sha256=folder, created_at=now())
            )
        await policies.activate(OLD, "test", "base", expected=None)
        await policies.report_engines("test", heed.pool.statuses())
        await policies.start_canary(NEW, 1.0, "test", "better?")
        heed.pool.wanted, heed.pool.trial = OLD, NEW
        yield heed


@pytest.mark.anyio
async def test_no_response_before_the_vote_names_a_version_or_an_engine(canary: Heed) -> None:
    ann = await canary.person("ann")
    slow = Script(("slow ", "one"), wait_s=0.3, pause_s=0.05)
    canary.pool.clients[1].scripts.append(slow)
    turn = await ann.say("Hi", mode="duel")
    paths = [f"/api/v1/conversations/{turn['conversation']}", f"/api/v1/duels/{turn['duel']['id']}"]
    for path in (*paths, "/api/v1/conversations", "/api/v1/votes/mine"):
        await ann.get(path)
    await ann.vote(turn["duel"]["id"])
    await ann.follow(turn["stream"])
    for path in paths:
        await ann.get(path)
    thumb = {"kind": "thumb", "answer_id": turn["duel"]["answer_a"], "choice": "up"}
    refused = await ann.call("POST", "/api/v1/votes", thumb, **{"Idempotency-Key": "thumb"})
    assert refused.status_code == 409
    sent = b"\n".join(ann.seen)
    for secret in (str(OLD), str(NEW), "engine-1", "engine-2", "tokens", "ended_at", "seed"):
        assert secret.encode() not in sent, secret
    assert len(sent) > 3000

    answer = (await ann.vote(turn["duel"]["id"], key="now")).json()["reveal"]
    assert set(answer.values()) == {OLD, NEW}


@pytest.mark.anyio
async def test_the_first_words_and_the_ends_of_both_sides_leave_together(canary: Heed) -> None:
    ann = await canary.person("ann")
    canary.pool.clients[0].scripts.append(Script(("quick",)))
    canary.pool.clients[1].scripts.append(Script(("slow",), wait_s=0.4))
    turn = await ann.say("Hi", mode="duel")
    await asyncio.sleep(0.2)
    # The quick side has ended by now; it is neither shown nor told.
    tree = await ann.get(f"/api/v1/conversations/{turn['conversation']}")
    assert {answer["state"] for answer in tree["answers"]} == {"streaming"}
    assert {answer["text"] for answer in tree["answers"]} == {""}
    seen = await ann.follow(turn["stream"])
    kinds = ["answer.start"] * 2 + ["answer.delta"] * 2 + ["answer.end"] * 2 + ["duel.ready", "turn.end"]
    assert seen.kinds() == kinds
    sides = [turn["duel"]["answer_a"], turn["duel"]["answer_b"]]
    assert [event["answer_id"] for event in seen.events[:6]] == sides * 3
    created = {answer["created_at"] for answer in tree["answers"]}
    assert len(created) == 1


@pytest.mark.anyio
async def test_a_side_that_ends_first_is_told_with_the_other(canary: Heed) -> None:
    ann = await canary.person("ann")
    gate = asyncio.Event()
    canary.pool.clients[0].scripts.append(Script(("quick",)))
    canary.pool.clients[1].scripts.append(Script(("slow", " one"), gate=gate))
    turn = await ann.say("Hi", mode="duel")
    whole = asyncio.create_task(ann.follow(turn["stream"]))
    await asyncio.sleep(0.4)
    held = await canary.parts.conversations.answers(turn["conversation"])
    assert [answer.state for answer in held] == ["streaming", "streaming"]
    gate.set()
    kinds = (await whole).kinds()
    assert kinds[-4:] == ["answer.end", "answer.end", "duel.ready", "turn.end"]
    assert kinds.count("answer.delta") == 4, "as much of quick as there was of slow, then the rest of both"


def test_a_finished_side_is_shown_as_streaming_until_the_other_has_finished() -> None:
    a = Answer(
        id="ans_a",
        conversation_id="conv",
        parent_id="msg",
        stream_id="conv.turn",
        duel_id="duel",
        side="a",
        state="finished",
        text="done",
        policy_version=OLD,
        versions=(OLD,),
        sampling=Sampling(),
        finish_reason="stop",
        created_at=now(),
    )
    b = a.model_copy(update={"id": "ans_b", "side": "b", "state": "streaming"})
    shown = answer_out(a, hidden=True, other=b)
    assert (shown.state, shown.text, shown.finish_reason) == ("streaming", "", None)
    assert shown.stream == "/api/v1/streams/conv.turn"
    both = answer_out(a, hidden=True, other=b.model_copy(update={"state": "finished"}))
    assert (both.state, both.text, both.policy_version) == ("finished", "done", None)
    assert answer_out(a, hidden=False).policy_version == OLD


@pytest.mark.anyio
async def test_the_stored_seed_decides_the_sides(canary: Heed) -> None:
    ann = await canary.person("ann")
    first_is_a: Counter[bool] = Counter()
    for _ in range(24):
        turn = await ann.duel()
        duel = await canary.parts.conversations.duel(turn["duel"]["id"])
        assert duel is not None
        a = await canary.parts.conversations.answer(duel.answer_a)
        assert a is not None
        # The candidate has the first place in every duel.
        assert (a.policy_version == OLD) == (random.Random(duel.seed).random() < 0.5)
        first_is_a[a.policy_version == OLD] += 1
    # Both positions occur: one of them missing in 24 fair throws has a chance of 2 in 2**24.
    assert set(first_is_a) == {True, False}


@pytest.mark.anyio
async def test_a_single_answer_is_the_candidates_and_shows_its_version(canary: Heed) -> None:
    ann = await canary.person("ann")
    turn = await ann.say("Hi")
    await ann.follow(turn["stream"])
    tree = await ann.get(f"/api/v1/conversations/{turn['conversation']}")
    assert tree["answers"][0]["policy_version"] == NEW


@pytest.mark.anyio
async def test_when_the_canary_has_ended_the_next_answers_are_the_active_versions(canary: Heed) -> None:
    ann = await canary.person("ann")
    first = await ann.duel()
    await canary.parts.policies.end_canary("stopped", "test", "enough")
    canary.pool.trial = None
    conversation = first["conversation"]
    second = await ann.say("More", mode="duel", conversation=conversation)
    await ann.follow(second["stream"])
    answers = await canary.parts.conversations.answers(conversation)
    versions = [
        {one.policy_version for one in answers if one.duel_id == t["duel"]["id"]} for t in (first, second)
    ]
    assert versions == [{OLD, NEW}, {OLD}]


@pytest.mark.anyio
async def test_the_version_is_chosen_when_the_answer_begins_not_when_it_was_asked_for(canary: Heed) -> None:
    ann = await canary.person("ann")
    canary.pool.places = 2
    gate = asyncio.Event()
    for client in canary.pool.clients:
        client.scripts.extend(Script(gate=gate) for _ in range(2))
    turns = [await ann.say("Hi", mode="duel") for _ in range(3)]
    assert canary.parts.admission.length == 1
    canary.pool.trial = None  # ended while the third one waits
    gate.set()
    for turn in turns:
        await ann.follow(turn["stream"])
    for turn, versions in zip(turns, ({OLD, NEW}, {OLD, NEW}, {OLD}), strict=True):
        answers = await canary.parts.conversations.answers(turn["conversation"])
        assert {one.policy_version for one in answers} == versions
        assert {one.versions for one in answers} == {(number,) for number in versions}


@pytest.mark.anyio
async def test_the_sides_keep_step_however_fast_each_engine_is(canary: Heed) -> None:
    """Or whoever watches learns which engine is the busy one."""
    ann = await canary.person("ann")
    canary.pool.clients[0].scripts.append(Script(["fast "] * 60))
    canary.pool.clients[1].scripts.append(Script(["slow "] * 40, pause_s=0.02))
    turn = await ann.say("Hi", mode="duel")
    seen = await ann.follow(turn["stream"])
    shown = dict.fromkeys((turn["duel"]["answer_a"], turn["duel"]["answer_b"]), 0)
    apart = []
    for event in seen.events:
        if event["type"] == "answer.delta":
            shown[event["answer_id"]] += len(event["text"])
            apart.append(abs(max(shown.values()) - min(shown.values())))
    assert len(apart) > 20
    assert max(apart[:-2]) <= 60, "the words of a tick or two; at the end comes what the longer one has more"
    assert sorted(shown.values()) == [200, 300]
