"""The explorer and the statistics on 100,000 votes: real Redis, real HTTP.

.venv/bin/python -m bench.explorer [votes]
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from server.settings import ServerSettings
from store import keys
from store.connection import Redis, connect
from store.records import Answer, Conversation, Duel, Message, Sampling, Vote, VotedAnswer, new_id, now
from tests.conftest import RedisServer
from tests.fakes import ScriptedPool
from tests.running import Person, serving

AT_ONCE = 500
WORDS = ["river", "mountain", "python", "invoice", "letter", "recipe", "planet", "sky", "train", "winter"]
QUERIES = {
    "first page, everything": "/api/v1/votes",
    "first page, a facet": "/api/v1/votes?q=annotator:person-3 outcome:tie",
    "first page, words": "/api/v1/votes?q=river winter",
    "first page, five terms": "/api/v1/votes?q=version:v4 -outcome:tie status:active river before:2027-01-01",
    "page in the middle": "/api/v1/votes?cursor=50000",
}


async def fill(redis: Redis, count: int) -> None:
    """Votes with their conversations, written as the log writes them, without its checks."""
    chance = random.Random(3)
    at, sampling = now(), Sampling()
    for start in range(0, count, AT_ONCE):
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(start, min(count, start + AT_ONCE)):
                conversation = f"conv_{number:020x}"
                message = Message(
                    id=f"msg_{number:020x}",
                    conversation_id=conversation,
                    parent_id=None,
                    text=" ".join(chance.choices(WORDS, k=20)),
                    created_at=at,
                )
                versions = chance.sample(range(1, 7), 2)
                answers = [
                    Answer(
                        id=f"ans_{number:019x}{side}",
                        conversation_id=conversation,
                        parent_id=message.id,
                        stream_id="s",
                        duel_id=f"duel_{number:020x}",
                        side=side,
                        state="finished",
                        text=" ".join(chance.choices(WORDS, k=chance.randint(20, 150))),
                        policy_version=version,
                        versions=(version,),
                        sampling=sampling,
                        response_tokens=100,
                        created_at=at,
                    )
                    for side, version in zip("ab", versions, strict=True)
                ]
                vote = Vote(
                    id=new_id("vote"),
                    kind="duel",
                    conversation_id=conversation,
                    duel_id=f"duel_{number:020x}",
                    annotator_id=f"person-{chance.randint(1, 60)}",
                    choice=chance.choice(["a", "a", "b", "b", "tie", "both_bad"]),
                    answers=tuple(
                        VotedAnswer(answer_id=one.id, version=one.policy_version, position=place)
                        for place, one in enumerate(answers, 1)
                    ),
                    version_a=versions[0],
                    version_b=versions[1],
                    tags=("incorrect",) if number % 7 == 0 else (),
                    idempotency_key=f"{number:036d}",
                    created_at=at,
                )
                duel = Duel(
                    id=f"duel_{number:020x}",
                    conversation_id=conversation,
                    parent_id=message.id,
                    stream_id="s",
                    answer_a=answers[0].id,
                    answer_b=answers[1].id,
                    seed=1,
                    owner_id="x",
                    vote_id=vote.id,
                    created_at=at,
                )
                talk = Conversation(id=conversation, owner_id="x", title="", created_at=at, updated_at=at)
                pipe.hset(keys.CONVERSATIONS, conversation, talk.model_dump_json())
                pipe.hset(keys.nodes(conversation, "messages"), message.id, message.model_dump_json())
                pipe.hset(keys.nodes(conversation, "duels"), duel.id, duel.model_dump_json())
                for one in answers:
                    pipe.hset(keys.nodes(conversation, "answers"), one.id, one.model_dump_json())
                    pipe.hset(keys.ANSWER_PLACE, one.id, conversation)
                pipe.hset(keys.DUEL_PLACE, duel.id, conversation)
                pipe.zadd(keys.by_owner("x"), {conversation: at.timestamp()})
                pipe.zincrby(keys.ARCHIVE_CHANGED, 1, conversation)
                entry = f"{int(at.timestamp() * 1000)}-{number}"
                pipe.xadd(keys.VOTES, {"vote": vote.model_dump_json(), "pairs": number}, id=entry)
                pipe.hset(keys.VOTE_KEYS, f"{vote.annotator_id}:{vote.idempotency_key}", entry)
                pipe.hset(keys.VOTE_BY_ID, vote.id, entry)
                pipe.lpush(keys.votes_of(vote.annotator_id), entry)
            await pipe.execute()


async def timed(person: Person, path: str, times: int) -> list[float]:
    """Milliseconds of each call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        response = await person.http.get(path, timeout=600)
        took.append((time.perf_counter() - began) * 1000)
        assert response.status_code == 200, response.text
    return took


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="heed-", dir="/tmp") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            async with connect(server.url) as redis:
                await redis.config_set("appendfsync", "everysec")  # only the filling is faster for it
                await fill(redis, count)
            config = Path(folder) / "config.toml"
            config.touch()
            settings = ServerSettings(
                data=Path(folder), redis_url=server.url, config=config, web=Path(folder) / "dist"
            )
            async with serving(settings, ScriptedPool(1)) as heed:
                admin = await heed.person("admin", "admin")
                (cold,) = await timed(admin, "/api/v1/votes", 1)
                print(
                    f"{count:,} votes; the first call of a server, which makes its index: {cold / 1000:.1f} s"
                )
                for what, path in QUERIES.items():
                    took = sorted(await timed(admin, path, 20))
                    print(f"{what:23} median {statistics.median(took):6.1f} ms, slowest {took[-1]:6.1f} ms")
                for what, path in (
                    ("statistics", "/api/v1/statistics"),
                    ("leaderboard", "/api/v1/leaderboard"),
                    ("with style control", "/api/v1/leaderboard?style=true"),
                ):
                    first, again = await timed(admin, path, 2)
                    print(f"{what:24} computed {first:8.0f} ms   kept {again:6.1f} ms")
        finally:
            server.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
