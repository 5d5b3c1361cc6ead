"""The reward hacking watch at work: votes, opinions, a pause with its reason, and a person who resumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from store.audit import Audit
from store.hacking import HackingWatch
from store.opinions import Opinion, Opinions, ScoredAnswer
from store.records import GateCheck, GateReport, PolicyVersion, VotedAnswer, new_id, now
from tests.stub_trainer import write_weights
from tests.worker_parts import Platform
from workers import opinions
from workers.hacking import watch
from workers.settings import Hacking

pytestmark = pytest.mark.anyio


async def met(heed: Platform, newer: int, wins: int, losses: int, *, liked: float = 1.0, **more: Any) -> None:
    """Blind duels of a version with the one before, and the reward model's word on each."""
    formed = []
    for number in range(wins + losses):
        ids = new_id("ans"), new_id("ans")
        sides = [
            {"id": name, "policy_version": version, "versions": (version,)}
            for name, version in zip(ids, (newer, newer - 1), strict=True)
        ]
        answers = tuple(
            VotedAnswer(answer_id=name, version=newer - place, position=place + 1)
            for place, name in enumerate(ids)
        )
        choice = "a" if number < wins else "b"
        vote = await heed.vote(choice, a=sides[0], b=sides[1], said={"answers": answers, **more})
        ahead = 1.0 if number < liked * (wins + losses) else -1.0
        scores = tuple(
            ScoredAnswer(answer_id=name, score=score) for name, score in zip(ids, (ahead, 0.0), strict=True)
        )
        formed.append(
            Opinion(vote_id=vote.id, reward_model=newer, answers=scores, learned_from=False, at=now())
        )
    await Opinions(heed.redis).add(formed)


async def told(heed: Platform) -> Any:
    found = await HackingWatch(heed.redis).told()
    assert found is not None
    return found


async def test_a_version_that_both_like_is_quiet(heed: Platform) -> None:
    await met(heed, 2, wins=20, losses=10)
    assert (await watch(heed.redis, heed.settings)).level == "quiet"
    assert await heed.runs.paused() is None
    assert "people in 67%" in (await told(heed)).words


async def test_a_warning_pauses_nothing_and_keeps_its_beginning(heed: Platform) -> None:
    await met(heed, 2, wins=9, losses=31)
    assert (await watch(heed.redis, heed.settings)).level == "warn"
    began = (await told(heed)).since
    assert (await watch(heed.redis, heed.settings)).level == "warn"
    assert (await told(heed)).since == began
    assert await heed.runs.paused() is None


async def test_a_stop_pauses_with_its_reason_and_a_person_resumes(heed: Platform) -> None:
    check = GateCheck(name="length", value=1.8, threshold=2, passed=True, reason="")
    await heed.policies.register(
        PolicyVersion(
            number=2,
            folder="v0002",
            sha256="x",
            created_at=now(),
            report=GateReport(passed=True, checks=(check,)),
        )
    )
    await met(heed, 2, wins=6, losses=34)

    assert (await watch(heed.redis, heed.settings)).level == "stop"

    paused = await heed.runs.paused()
    assert paused is not None
    assert paused.actor == "heed"
    assert paused.reason == (
        "reward hacking: the reward model prefers v2 to older versions in 100% (91% to 100%)"
        " of 40 blind duels, people in 15% (7% to 29%); v2: answers 1.8 times as long"
    )
    (event, *_) = await Audit(heed.redis).newest()
    assert (event.actor, event.action, event.reason) == ("heed", "schedule_paused", paused.reason)
    assert await watch(heed.redis, heed.settings) == (await told(heed)).finding  # nothing is done twice
    assert len(await Audit(heed.redis).newest()) == 1

    await heed.runs.resume()
    assert (await watch(heed.redis, heed.settings)).level == "quiet"  # it has been looked at
    assert await heed.runs.paused() is None
    await met(heed, 3, wins=6, losses=34)
    assert (await watch(heed.redis, heed.settings)).level == "stop"
    again = await heed.runs.paused()
    assert again is not None
    assert "prefers v3 to" in again.reason


async def test_a_persons_own_pause_stays(heed: Platform) -> None:
    await heed.runs.pause("ann", "holidays")
    await met(heed, 2, wins=6, losses=34)
    assert (await watch(heed.redis, heed.settings)).level == "stop"
    paused = await heed.runs.paused()
    assert paused is not None
    assert paused.reason == "holidays"
    await heed.runs.resume()
    await watch(heed.redis, heed.settings)
    paused = await heed.runs.paused()
    assert paused is not None
    assert paused.actor == "heed"


@pytest.mark.parametrize("why", [{"blind": False}, {"check": "gold"}, {"status": "excluded"}])
async def test_votes_that_no_statistic_counts_are_not_counted_here(
    heed: Platform, why: dict[str, Any]
) -> None:
    await met(heed, 2, wins=0, losses=20, **why)
    assert (await watch(heed.redis, heed.settings)).people.n == 0


async def test_off_is_off(heed: Platform) -> None:
    await met(heed, 2, wins=6, losses=34)
    off = replace(heed.settings, hacking=Hacking(warn_error=0, stop_error=0))
    assert (await watch(heed.redis, off)).level == "quiet"


async def test_a_pass_of_opinions_looks(heed: Platform) -> None:
    version = PolicyVersion(
        number=2, run_id="run_2", reward_model=2, folder="v0002", sha256="x", created_at=now()
    )
    await heed.policies.register(version)
    write_weights(heed.settings.data / "reward_models" / "v0002", [1.0], "score.weight")
    for _ in range(24):
        ids = new_id("ans"), new_id("ans")
        sides = [
            {"id": name, "text": text, "policy_version": number, "versions": (number,)}
            for name, text, number in zip(ids, ("long and winding", "short"), (2, 1), strict=True)
        ]
        about = tuple(
            VotedAnswer(answer_id=name, version=2 - place, position=place + 1)
            for place, name in enumerate(ids)
        )
        await heed.vote("b", a=sides[0], b=sides[1], said={"answers": about})

    assert await opinions.form(heed.settings) == 24

    finding = (await told(heed)).finding
    assert (finding.level, finding.model.share, finding.people.share) == ("stop", 1.0, 0.0)
    assert await heed.runs.paused() is not None
