"""What the servers count for the guards while a canary runs: real HTTP, real Redis, scripted engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.settings import ServerSettings
from store.artifacts import seal
from store.canary_watch import CanaryWatch
from store.connection import connect
from store.records import Canary, EngineStatus, PolicyVersion, now
from tests.fakes import Script, ScriptedPool
from tests.running import Heed, Person, serving
from tests.stub_trainer import LM_HEAD, write_weights

pytestmark = pytest.mark.anyio


@pytest.fixture
async def heed(settings: ServerSettings) -> AsyncIterator[Heed]:
    """Version 2 is a canary that every conversation is in."""
    pool = ScriptedPool(1, 2)
    async with serving(settings, pool) as running:
        policies = running.parts.policies
        for number in (1, 2):
            write_weights(settings.data / f"made-{number}", LM_HEAD)
            folder = f"v{number:04d}"
            digest = seal(settings.data / f"made-{number}", settings.data / "policies" / folder, {})
            await policies.register(
                PolicyVersion(number=number, folder=folder, sha256=digest, created_at=now())
            )
        await policies.activate(1, "test", "base", expected=None)
        ready = [
            EngineStatus(name=f"e{n}", address="unix:///e", state="ready", seen_at=now()) for n in (1, 2)
        ]
        await policies.report_engines("here", ready)
        yield running


async def begin(heed: Heed) -> Canary:
    canary = await heed.parts.policies.start_canary(2, 1.0, "ann", "is it better?")
    heed.pool.trial = 2
    return canary


async def counted(heed: Heed, canary: Canary, turns: int = 1) -> dict[str, int]:
    """What is counted once so many turns have ended, without the waits."""
    redis = connect(heed.parts.settings.redis_url)
    try:
        while True:
            counts = await CanaryWatch(redis).counts(canary)
            ended = sum(n for field, n in counts.items() if field.endswith(":answers"))
            if ended >= turns:
                waits = sum(n for field, n in counts.items() if ":wait:" in field)
                return {field: n for field, n in counts.items() if ":wait:" not in field} | {"waits": waits}
            await asyncio.sleep(0.01)
    finally:
        await redis.aclose()


async def say(person: Person, conversation: str = "", mode: str = "single") -> str:
    turn = await person.say(mode=mode, conversation=conversation)
    await person.follow(turn["stream"])
    return str(turn["conversation"])


async def test_a_duel_counts_for_both_versions(heed: Heed, ann: Person) -> None:
    canary = await begin(heed)
    heed.pool.clients[0].scripts.append(Script(finish_reason="length"))
    await say(ann, mode="duel")
    assert await counted(heed, canary, 2) == {
        **{"1:answers": 1, "1:finished": 1, "1:truncated": 1},
        **{"2:answers": 1, "2:finished": 1, "waits": 2},
    }


async def test_an_answer_that_breaks_off_twice_has_failed(heed: Heed, ann: Person) -> None:
    canary = await begin(heed)
    heed.pool.clients[1].scripts.extend([Script((), fails=True)] * 2)
    await say(ann)
    assert await counted(heed, canary) == {"2:answers": 1, "2:failed": 1, "2:alone": 1, "waits": 0}


async def test_an_answer_that_its_reader_stops(heed: Heed, ann: Person) -> None:
    canary = await begin(heed)
    heed.pool.clients[1].scripts.append(Script(hangs=True))
    turn = await ann.say()
    await ann.follow(turn["stream"], stop_at="answer.delta")
    await ann.call("POST", f"/api/v1/answers/{turn['answers'][0]['id']}/stop")
    await ann.follow(turn["stream"])
    assert await counted(heed, canary) == {"2:answers": 1, "2:stopped": 1, "2:alone": 1, "waits": 1}


async def test_only_the_first_turn_of_a_conversation_that_began_since_counts(heed: Heed, ann: Person) -> None:
    older = await ann.conversation()
    canary = await begin(heed)
    await say(ann, older)
    new = await say(ann)
    await say(ann, new)
    await say(ann, mode="duel")  # the last to end: what else would be counted was counted before it
    assert (await counted(heed, canary, 3)) == {
        **{"2:answers": 2, "2:finished": 2, "2:alone": 1, "waits": 3},
        **{"1:answers": 1, "1:finished": 1},
    }


async def test_without_a_canary_nothing_is_counted(heed: Heed, ann: Person) -> None:
    await say(ann)
    redis = connect(heed.parts.settings.redis_url)
    assert [key async for key in redis.scan_iter("heed:canary:*")] == []
    await redis.aclose()


async def test_the_page_shows_what_the_guards_weighed(heed: Heed, ann: Person) -> None:
    await begin(heed)
    admin = await heed.person("admin", "admin")
    shown = (await admin.get("/api/v1/statistics"))["canary"]
    assert (shown["number"], shown["guards"]) == (2, [])
