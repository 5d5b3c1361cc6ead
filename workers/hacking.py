"""The reward hacking watch: warns when scores rise and people like answers less, then pauses the schedule.

It pauses as a person would, with the reason in words and in the audit log, and a person resumes. After that
only versions that came since are judged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from store.audit import Audit
from store.connection import Redis
from store.explorer.index import AT_ONCE, VoteIndex
from store.explorer.table import VoteRow
from store.explorer.watched import between_versions, steps
from store.hacking import ACTOR, HackingWatch, Told
from store.opinions import Opinions, Thought
from store.policies import Policies
from store.records import AuditEvent, PolicyVersion, Vote, now
from store.runs import Runs
from store.statistics.hacking import Finding, in_words, judge
from store.votes import VoteLog
from workers.settings import WorkerSettings

LOOKED_THROUGH = 5000
"""Opinions, newest first, in which the newest versions' duels are looked for."""
MEASURED = {
    "length": "answers {:.2g} times as long",
    "entropy": "{:.2g} times the entropy",
    "repeats": "{:.0%} repeats",
}
"""Of the gate's checks those that hacking shows in, and how they are said."""

logger = logging.getLogger(__name__)


async def watch(redis: Redis, settings: WorkerSettings) -> Finding:
    """Judge the newest versions; tell, and pause the schedule when it is bad enough. Safe to repeat."""
    hacking, runs = HackingWatch(redis), Runs(redis)
    told, paused = await hacking.told(), await runs.paused()
    if told is not None and told.finding.level == "stop" and paused is not None and paused.actor == ACTOR:
        return told.finding  # it stands until a person has looked
    finding = await _judged(redis, settings)
    words = in_words(finding) + await _measured(redis, settings, finding)
    same = told is not None and told.finding.level == finding.level
    since = told.since if told is not None and same else now()
    await hacking.tell(Told(finding=finding, words=words, since=since))
    if finding.level != "quiet" and not same:
        logger.warning("reward hacking, %s: %s", finding.level, words)
    if finding.level == "stop" and paused is None:
        await Audit(redis).append(
            AuditEvent(
                actor=ACTOR,
                action="schedule_paused",
                object="schedule",
                reason=f"reward hacking: {words}",
                detail=finding.model_dump(mode="json"),
                at=now(),
            )
        )
        await runs.pause(ACTOR, f"reward hacking: {words}"[:500])
        await hacking.paused_for(max(finding.versions))
    return finding


async def _judged(redis: Redis, settings: WorkerSettings) -> Finding:
    after = await HackingWatch(redis).seen_through()
    thoughts, votes = await _predicted(redis, settings, after)
    index, rows = VoteIndex(redis, settings.data), list[VoteRow]()
    for first in range(0, len(votes), AT_ONCE):
        rows += await index.rows(votes[first : first + AT_ONCE])
    said = settings.hacking
    return judge(
        steps(filter(between_versions, rows), thoughts),
        versions=said.versions,
        warn_error=said.warn_error,
        stop_error=said.stop_error,
    )


async def _predicted(
    redis: Redis, settings: WorkerSettings, after: int
) -> tuple[dict[str, Thought], list[Vote]]:
    """The votes on duels of the newest versions with older ones, and what was thought of them."""
    opinions = await Opinions(redis).newest(LOOKED_THROUGH)
    thoughts = {one.vote_id: one.thought for one in opinions}
    votes = await VoteLog(redis, settings.data).several(list(thoughts))
    met = [vote for vote in votes if vote.kind == "duel" and len(set(vote.versions)) == 2]
    newest = sorted({max(vote.versions) for vote in met}, reverse=True)[: settings.hacking.versions]
    return thoughts, [vote for vote in met if max(vote.versions) in newest and max(vote.versions) > after]


async def _measured(redis: Redis, settings: WorkerSettings, finding: Finding) -> str:
    """What the gate measured of the newest of these versions, against the one before it."""
    if not finding.versions:
        return ""
    version = await Policies(redis, settings.data).get(finding.versions[0])
    said = _checks(version) if version is not None else []
    return f"; v{finding.versions[0]}: {', '.join(said)}" if said else ""


def _checks(version: PolicyVersion) -> Sequence[str]:
    checks = version.report.checks if version.report else ()
    return [MEASURED[check.name].format(check.value) for check in checks if check.name in MEASURED]
