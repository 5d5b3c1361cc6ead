"""A training in detail: log, shown answers, alerts; again from where it failed; plan and schedule."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from server import runlog
from server.auditing import Noted
from server.dependencies import Engineer, Heed, Parts, Watcher
from server.errors import not_found
from server.planning import data_plan
from server.run_settings import resolved
from server.training_shapes import (
    AlertOut,
    AlertPage,
    DataPlanOut,
    LogOut,
    PauseIn,
    PlanOut,
    RequestOut,
    RuleChangeOut,
    RulesIn,
    SamplePage,
    ScheduleOut,
    StageEstimate,
    WhoseVotesOut,
)
from server.whose_votes import read_frozen, whose_votes
from store.records import STAGES, Pause, Run, Stage
from store.requests import TrainingRequest
from store.run_options import RunOptions
from store.settings import read_sections
from store.start_rules import rules_of

router = APIRouter(prefix="/api/v1", tags=["training"])

TRAINING_SECTIONS = ("votes", "schedule", "release", "scale", "reward", "rollout", "ppo", "groups", "gate")
EARLIER = 10
"""Trainings that an estimate looks back on."""


async def known_run(run_id: str, heed: Heed) -> Run:
    run = await heed.runs.get(run_id)
    if run is None:
        raise not_found("run")
    return run


KnownRun = Annotated[Run, Depends(known_run)]


def folder_of(heed: Parts, run: Run) -> Path:
    return heed.settings.data / "runs" / run.id


@router.get("/runs/{run_id}/annotators")
async def run_annotators(run: KnownRun, heed: Heed, me: Watcher) -> WhoseVotesOut:
    """Whose votes its frozen data set holds, and how much they weigh."""
    frozen = await asyncio.to_thread(read_frozen, folder_of(heed, run))
    if frozen is None:
        raise not_found("data set of this training")
    return await whose_votes(frozen.annotators, frozen.cap, heed.accounts)


@router.get("/runs/{run_id}/log")
async def run_log(stage: Stage, run: KnownRun, heed: Heed, me: Watcher) -> LogOut:
    """The end of a stage's log."""
    found = await asyncio.to_thread(runlog.tail, folder_of(heed, run), stage)
    if found is None:
        raise not_found("log of this stage")
    return found


@router.get("/runs/{run_id}/samples")
async def run_samples(run: KnownRun, heed: Heed, me: Watcher) -> SamplePage:
    """An answer of each update, and the fixed prompts' along the training: what the numbers cannot show."""
    folder = folder_of(heed, run)
    return SamplePage(
        items=await asyncio.to_thread(runlog.samples, folder),
        fixed=await asyncio.to_thread(runlog.fixed, folder),
    )


@router.get("/runs/{run_id}/alerts")
async def run_alerts(run: KnownRun, heed: Heed, me: Watcher) -> AlertPage:
    """What the trainer warned of, and who has seen it."""
    alerts = await asyncio.to_thread(runlog.alerts, folder_of(heed, run))
    seen = await heed.runs.acknowledged(run.id)
    items = []
    for alert in alerts:
        by, at = seen.get(alert.id, (None, None))
        items.append(AlertOut(id=alert.id, **alert._asdict(), acknowledged_by=by, acknowledged_at=at))
    return AlertPage(items=items)


@router.post("/runs/{run_id}/alerts/{alert_id}/acknowledge", status_code=204)
async def acknowledge(alert_id: str, run: KnownRun, heed: Heed, me: Engineer, noted: Noted) -> None:
    """Say that somebody has looked at an alert."""
    alerts = await asyncio.to_thread(runlog.alerts, folder_of(heed, run))
    alert = next((one for one in alerts if one.id == alert_id), None)
    if alert is None:
        raise not_found("alert")
    await heed.runs.acknowledge(run.id, alert.id, me.id)
    await noted("alert_acknowledged", run.id, after={"step": alert.step, "text": alert.text})


@router.post("/runs/{run_id}/retry", status_code=202)
async def retry_run(run: KnownRun, heed: Heed, me: Engineer, noted: Noted) -> Run:
    """Queue the newest training again when it failed or was cancelled: finished stages stay finished."""
    again = await heed.runs.retry(run.id)
    assert again is not None
    await noted("retry", run.id, before=run.state, after=again.state)
    return again


@router.get("/schedule")
async def get_schedule(heed: Heed, me: Watcher) -> ScheduleOut:
    """When the next training starts by itself."""
    changes = await heed.start_rules.changes()
    rules, outlook = changes.over(heed.config.schedule), await heed.outlooks.read()
    after = await heed.votes.mark("attempted_through")
    oldest = await heed.votes.first_after(after)
    at = datetime.fromtimestamp(int(oldest.partition("-")[0]) / 1000, tz=UTC) if oldest else None
    every = rules.every_hours
    return ScheduleOut(
        rules=rules_of(rules),
        file=rules_of(heed.config.schedule),
        changed={
            name: RuleChangeOut(by=await _name(heed, one.actor), at=one.at)
            for name, one in changes.rules.items()
            if getattr(rules, name) != getattr(heed.config.schedule, name)
        },
        pending=await heed.voting.pending(),
        oldest_waiting_at=at,
        due_at=at + timedelta(hours=every) if at and every else None,
        paused=await heed.runs.paused(),
        outlook=outlook if outlook and outlook.rules_at == changes.at else None,
        requests=[await _shown(heed, request) for request in await heed.requests.waiting()],
    )


async def _shown(heed: Parts, request: TrainingRequest) -> RequestOut:
    name = await _name(heed, request.actor)
    return RequestOut(id=request.id, name=name, reason=request.reason, at=request.at)


async def _name(heed: Parts, actor: str) -> str:
    account = await heed.accounts.get(actor)
    return account.name if account else actor


@router.delete("/requests/{request_id}", status_code=204)
async def cancel_request(request_id: str, heed: Heed, me: Engineer, noted: Noted) -> None:
    """Take a training that waits its turn out of the queue."""
    request = await heed.requests.cancel(request_id)
    if request is None:
        raise not_found("request")
    await noted("request_cancelled", request.id, before={"by": request.actor, "reason": request.reason})


@router.patch("/schedule/rules")
async def change_rules(body: RulesIn, heed: Heed, me: Engineer, request: Request) -> ScheduleOut:
    """Set start rules from the next tick on, over the file's; one that is not named stays as it is.

    422 names the rule that cannot be so.
    """
    wanted = body.model_dump(include=body.model_fields_set)
    await heed.start_rules.change(heed.config.schedule, wanted, me.id, request.state.request_id)
    return await get_schedule(heed, me)


@router.delete("/schedule/rules")
async def rules_as_in_file(heed: Heed, me: Engineer, request: Request) -> ScheduleOut:
    """Every start rule as in the configuration file again."""
    await heed.start_rules.as_in_file(heed.config.schedule, me.id, request.state.request_id)
    return await get_schedule(heed, me)


@router.put("/schedule/pause")
async def pause_schedule(body: PauseIn, heed: Heed, me: Engineer, noted: Noted) -> Pause:
    """From now on no training starts by itself; Train now still works."""
    pause = await heed.runs.pause(me.id, body.reason)
    await noted("schedule_paused", "schedule", reason=body.reason)
    return pause


@router.delete("/schedule/pause", status_code=204)
async def resume_schedule(heed: Heed, me: Engineer, noted: Noted) -> None:
    """Trainings start by themselves again."""
    await heed.runs.resume()
    await noted("schedule_resumed", "schedule")


@router.get("/plan")
async def plan(heed: Heed, me: Watcher) -> PlanOut:
    """What a training would learn from now, with which settings, and how long earlier ones took."""
    return await _plan(heed, RunOptions(), await asyncio.to_thread(read_sections, heed.settings.config))


@router.post("/plan")
async def plan_with(body: RunOptions, heed: Heed, me: Engineer) -> PlanOut:
    """The same with other settings, every field of the trainer's as it resolves them. Nothing starts.

    422 names the option that the trainer refuses.
    """
    return await _plan(heed, body, await resolved(heed.settings.config, body))


async def _plan(heed: Parts, options: RunOptions, sections: dict[str, dict[str, Any]]) -> PlanOut:
    changes = await heed.start_rules.changes()
    sections = changes.shown_in(sections)
    schedule = changes.over(heed.config.schedule).model_copy(update=options.schedule)
    trained = await heed.votes.mark("trained_through")
    new = await heed.votes.read(trained)
    active, current = await heed.policies.active(), await heed.runs.current()
    total_pairs = await heed.votes.pending("0")
    blocked = None
    if current is not None:
        blocked = "run_open"
    elif active is None:
        blocked = "no_version"
    return PlanOut(
        parent=active.number if active else None,
        new_votes=dict(Counter(vote.choice for _, vote in new)),
        new_pairs=await heed.votes.pending(trained),
        total_votes=await heed.votes.total(),
        total_pairs=total_pairs,
        max_pairs=schedule.max_pairs,
        held_out_share=schedule.held_out_share,
        rollout_prompts=schedule.rollout_prompts,
        gate_prompts=schedule.gate_prompts,
        settings={name: sections[name] for name in TRAINING_SECTIONS if name in sections},
        estimate=estimate(await heed.runs.newest(limit=EARLIER)),
        blocked=blocked,
    )


@router.get("/plan/data")
async def plan_data(heed: Heed, me: Watcher) -> DataPlanOut:
    """The dry run of the data: which votes would train, which are left out and why, whose they are."""
    return await data_plan(heed)


def estimate(runs: list[Run]) -> list[StageEstimate]:
    """Median seconds of each stage over the trainings that went through."""
    through = [run for run in runs if run.state == "succeeded"]
    found = []
    for stage in STAGES:
        seconds = [
            (status.ended_at - status.started_at).total_seconds()
            for run in through
            for status in run.stages
            if status.stage == stage and status.started_at and status.ended_at
        ]
        if seconds:
            found.append(StageEstimate(stage=stage, seconds=median(seconds)))
    return found
