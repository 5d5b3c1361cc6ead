"""Opinions: what the reward model thinks of answers that people voted on, formed while no run is open.

Each vote is put to the reward model that the newest of its answers' versions was trained to please. Such an
answer is younger than that model's data, so the model predicts a vote that it has not seen.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from store.connection import Redis, StoreUnavailable, connect
from store.conversations import Conversations
from store.dataset.evidence import as_seen
from store.exchange.export import answer_ids
from store.json_lines import read_lines
from store.lineage import Lineage
from store.locks import LockHeld, hold
from store.opinions import AT_ONCE, Opinion, Opinions, ScoredAnswer
from store.policies import Policies
from store.records import Answer, AnswerText, CaseScores, PolicyVersion, ScoreCase, Vote, now
from store.runs import Runs
from store.stream_ids import position
from store.votes import VoteLog
from workers.child import StageFailed, run_trainer
from workers.hacking import watch
from workers.lease import Cancelled, Verdict
from workers.settings import WorkerSettings

MARK = "scored_through"
LOCK_S = 30.0
LOOK_EVERY_S = 1.0
TRIES = 3
"""Failures after which the votes of a pass are left without an opinion: later ones must not wait for ever."""

logger = logging.getLogger(__name__)


async def due(settings: WorkerSettings) -> bool:
    """Whether a pass should begin now: there are new votes, no run is open, and the last pass is over."""
    if settings.opinions.every_s == 0:
        return False
    redis = connect(settings.redis_url)
    try:
        votes = VoteLog(redis, settings.data)
        newest, seen = await votes.newest(), await votes.mark(MARK)
        if position(newest) <= position(seen) or await Runs(redis).current() is not None:
            return False
        return await Opinions(redis).may_begin(settings.opinions.every_s)
    finally:
        await redis.aclose()


async def form(settings: WorkerSettings) -> int:
    """One pass: score what was voted on since the last one; how many opinions it came to.

    Safe to repeat. Stops at once, and changes nothing, when a run wants the machine.
    """
    redis = connect(settings.redis_url)
    try:
        async with hold(redis, "opinions", LOCK_S):
            formed = await _form(_Desk(redis, settings))
            if formed:
                await watch(redis, settings)
            return formed
    except (Cancelled, LockHeld) as reason:
        logger.info("no opinions now: %s", reason)
        return 0
    finally:
        await redis.aclose()


class _Asked(NamedTuple):
    """A vote's answers, and the reward model that is asked about them."""

    vote: Vote
    case: ScoreCase
    answer_ids: tuple[str, ...]
    version: PolicyVersion


class _Desk:
    """What a pass works with."""

    def __init__(self, redis: Redis, settings: WorkerSettings) -> None:
        self.settings = settings
        self.runs, self.votes, self.opinions = Runs(redis), VoteLog(redis, settings.data), Opinions(redis)
        self.conversations, self.lineage = Conversations(redis, settings.data), Lineage(redis)
        self.policies = Policies(redis, settings.data)

    def reward_model(self, version: PolicyVersion) -> Path:
        return self.settings.data / "reward_models" / f"v{version.reward_model or 0:04d}"


async def _form(desk: _Desk) -> int:
    asked, through = await _asked(desk)
    formed: list[Opinion] = []
    try:
        for number in sorted({one.version.number for one in asked}):
            some = [one for one in asked if one.version.number == number]
            formed += await _scored(desk, some)
    except StageFailed as error:
        logger.warning("votes could not be scored: %s", error)
        if await desk.opinions.failed(str(error)) < TRIES:
            return 0
    if formed:
        await desk.opinions.add(formed)
    await desk.votes.advance(MARK, through)
    return len(formed)


async def _asked(desk: _Desk) -> tuple[list[_Asked], str]:
    """The next votes that have no opinion yet, at most `at_once`, and how far the log was read for them."""
    versions = {one.number: one for one in await desk.policies.versions()}
    after, found = await desk.votes.mark(MARK), list[_Asked]()
    while entries := await desk.votes.changes(after, AT_ONCE):
        ids = list(dict.fromkeys(vote.id for _, vote in entries))
        votes = {vote.id: vote for vote in await desk.votes.several(ids)}
        known = {*await desk.opinions.several(ids), *(one.vote.id for one in found)}
        for entry, changed in entries:
            if len(found) == desk.settings.opinions.at_once:
                return found, after
            after, vote = entry, votes[changed.id]
            if vote.id in known or vote.status == "undone" or not _compares(vote):
                continue
            known.add(vote.id)
            case = await _case(desk, vote, versions)
            if case is not None:
                found.append(case)
    return found, after


def _compares(vote: Vote) -> bool:
    return vote.kind == "ranking" or (vote.kind == "duel" and vote.choice != "skip")


async def _case(desk: _Desk, vote: Vote, versions: dict[int, PolicyVersion]) -> _Asked | None:
    """The answers as the annotator saw them; None where they are gone or no reward model made them."""
    conversation = await desk.conversations.get(vote.conversation_id)
    found = [await desk.conversations.answer(name) for name in await answer_ids(vote, desk.conversations)]
    said = [answer for answer in found if answer is not None and answer.state in ("finished", "stopped")]
    if conversation is None or not said or len(said) < len(found):
        return None
    version = versions.get(max(max((answer.policy_version, *answer.versions)) for answer in said))
    if version is None or version.reward_model is None or not desk.reward_model(version).is_dir():
        return None
    seen: Sequence[Answer] = as_seen(said) if vote.early else said
    case = ScoreCase(
        id=vote.id,
        prompt=await desk.conversations.prompt(conversation, said[0].parent_id),
        answers=tuple(AnswerText(text=one.text, ended=one.finish_reason == "stop") for one in seen),
    )
    return _Asked(vote, case, tuple(answer.id for answer in said), version)


async def _scored(desk: _Desk, asked: list[_Asked]) -> list[Opinion]:
    """What one reward model says of these. Raises StageFailed, Cancelled."""
    version = asked[0].version
    folder = desk.settings.data / "opinions"
    cases, out, log = folder / "cases.jsonl", folder / "scores.jsonl", folder / "score.log"
    await asyncio.to_thread(_prepare, folder, [one.case for one in asked])
    command = [
        *desk.settings.start_of("score"),
        *("--config", str(desk.settings.config), "--reward-model", str(desk.reward_model(version))),
        *("--cases", str(cases), "--out", str(out)),
    ]
    try:
        await run_trainer(command, log, _UntilARun(desk.runs))
        lines = await asyncio.to_thread(read_lines, out)
    finally:  # a copy of what people wrote is kept no longer than it is needed
        await asyncio.to_thread(cases.unlink)
    scores = {one.id: one.scores for one in map(CaseScores.model_validate_json, lines)}
    opinions = []
    for one in asked:
        given = scores.get(one.vote.id)
        if given is None:  # it does not fit into the model
            continue
        used = await desk.lineage.used_in(one.vote.id, [version.run_id] if version.run_id else [])
        opinions.append(
            Opinion(
                vote_id=one.vote.id,
                reward_model=version.reward_model or 0,
                answers=tuple(
                    ScoredAnswer(answer_id=name, score=score)
                    for name, score in zip(one.answer_ids, given, strict=True)
                ),
                learned_from=bool(used),
                at=now(),
            )
        )
    return opinions


def _prepare(folder: Path, cases: list[ScoreCase]) -> None:
    """A folder with nothing in it but the cases."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    lines = "".join(case.model_dump_json() + "\n" for case in cases)
    (folder / "cases.jsonl").write_text(lines, encoding="utf-8")


class _UntilARun:
    """Lets the child work until a run is queued: a training and a scoring model do not fit side by side."""

    name = "opinions"

    def __init__(self, runs: Runs) -> None:
        self.redis_errors = 0
        self._runs = runs

    async def stopped(self) -> Verdict:
        while True:
            try:
                if await self._runs.current() is not None:
                    return "cancel"
            except StoreUnavailable:
                self.redis_errors += 1
            await asyncio.sleep(LOOK_EVERY_S)
