"""The archive's task: what it tells the System page, and that a training does not notice what left Redis."""

from __future__ import annotations

import pytest

from server.system import archive_problems
from store import keys
from store.archive.keep import Limits, keep
from store.archive.verify import verify
from store.conversations import Conversations
from store.dataset.gather import gather, position_now
from store.dataset.rules import VoteRules
from store.health import Health
from store.opinions import Opinions
from store.queue import Queue
from store.votes import VoteLog
from tests.worker_parts import Platform
from workers.archive import keep_archive, limits
from workers.settings import ArchiveSettings
from workers.tasks import keep as task

pytestmark = pytest.mark.anyio


def test_settings_become_limits() -> None:
    assert limits(ArchiveSettings()) == Limits()
    assert limits(ArchiveSettings(rest_days=None)).rest_s is None


async def test_a_pass_is_noted_and_a_foreign_folder_is_a_problem(heed: Platform) -> None:
    await heed.vote()
    health = Health(heed.redis)
    assert archive_problems(await health.last_archived()) == []
    assert await keep_archive(heed.settings) is False
    assert archive_problems(await health.last_archived()) == []
    assert verify(heed.settings.data / "archive").lines["votes"] == 1
    await heed.redis.set(keys.ARCHIVE_ID, "somebody else's")
    assert await keep_archive(heed.settings) is False
    (problem,) = archive_problems(await health.last_archived())
    assert (problem.kind, problem.severity) == ("archive_failing", "bad")
    assert "archive of another Redis" in problem.what


def test_the_task_goes_to_the_control_queue() -> None:
    assert task.name == "heed.archive"
    assert task.app.conf.task_routes["heed.archive"] == {"queue": "control"}
    assert task.app.conf.beat_schedule["archive"]["task"] == task.name


async def test_a_training_finds_the_same_pairs_when_texts_and_old_votes_have_left_redis(
    heed: Platform,
) -> None:
    for number, choice in enumerate(("a", "b", "tie", "both_bad", "a", "b")):
        await heed.vote(choice, text=f"Question {number}?")
    data = heed.settings.data

    async def found() -> object:
        return await gather(
            VoteLog(heed.redis, data),
            Conversations(heed.redis, data),
            Queue(heed.redis),
            Opinions(heed.redis),
            data,
            at=at,
            rules=VoteRules(),
            max_pairs=100,
        )

    at = await position_now(heed.votes, Opinions(heed.redis), data)
    before = await found()
    for _ in range(2):
        await keep(heed.redis, data, Limits(segment_bytes=1, hot_votes=1, rest_s=0.0))
    assert await heed.redis.xlen(keys.VOTES) == 1
    assert not await heed.redis.exists(keys.CONVERSATIONS)
    assert await found() == before
