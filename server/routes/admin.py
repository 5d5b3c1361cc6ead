"""The dashboard: what is live, what trains, which versions exist; train now, cancel, roll back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from server import hacking, shapes
from server.auditing import Noted
from server.dependencies import Engineer, Heed, Releaser, Watcher
from server.errors import not_found
from server.run_settings import resolved
from server.training_shapes import TrainIn
from store.records import Activation, Run
from store.requests import TrainingRequest
from store.run_options import RunOptions
from store.runs import RunAlreadyOpen

router = APIRouter(prefix="/api/v1", tags=["admin"])


@router.get("/status")
async def status(heed: Heed, me: Watcher) -> shapes.StatusOut:
    """One glance: the live version, engines, votes until the next training, the run."""
    active = await heed.policies.active()
    previous = await heed.policies.previous()
    timeline = await heed.policies.timeline(limit=1)
    since = timeline[0].at if timeline else None
    pending = await heed.voting.pending()
    min_votes = (await heed.schedule()).min_votes
    return shapes.StatusOut(
        active=shapes.ActiveOut(number=active.number, since=since) if active else None,
        previous=previous.number if previous else None,
        serving=await heed.policies.serving(),
        engines=await heed.policies.engines(),
        canary=await heed.policies.canary(),
        paused=await heed.runs.paused(),
        votes=shapes.VoteCounts(total=await heed.votes.total(), pending=pending, min_votes=min_votes),
        run=await heed.runs.current(),
        warnings=[*heed.warnings, *await hacking.warnings(heed.hacking)],
    )


@router.get("/runs")
async def list_runs(heed: Heed, me: Watcher) -> shapes.RunPage:
    """Newest first."""
    return shapes.RunPage(items=await heed.runs.newest())


@router.post("/runs", status_code=201, response_model=Run, responses={202: {"model": TrainingRequest}})
async def train_now(
    heed: Heed, me: Engineer, noted: Noted, body: TrainIn | None = None
) -> Run | JSONResponse:
    """Queue a retrain on the votes there are, with other settings if any are given.

    While another one is open it waits its turn: 202. 422 names the option that the trainer refuses.
    """
    asked = body or TrainIn()
    options, reason = RunOptions(**asked.model_dump(exclude={"reason"})), asked.reason
    given = options.model_dump(exclude_none=True)
    if given:
        await resolved(heed.settings.config, options)
    await heed.run_options.keep(me.id, options)
    try:
        run = await heed.runs.request(me.id, reason)
    except RunAlreadyOpen:
        request = await heed.requests.add(me.id, reason)
        await noted("train_requested", request.id, reason=reason or None, after=given or None)
        return JSONResponse(request.model_dump(mode="json"), 202)
    await noted("train_now", run.id, reason=reason or None, after=given or None)
    return run


@router.get("/runs/{run_id}")
async def get_run(run_id: str, heed: Heed, me: Watcher) -> Run:
    """One run with its stages."""
    run = await heed.runs.get(run_id)
    if run is None:
        raise not_found("run")
    return run


@router.get("/runs/{run_id}/metrics")
async def run_metrics(
    run_id: str, heed: Heed, me: Watcher, after: Annotated[str, Query(pattern=r"^\d+(-\d+)?$")] = "0"
) -> shapes.MetricPage:
    """The run's numbers step by step, after a row's id."""
    rows = await heed.runs.metrics(run_id, after)
    items = [shapes.MetricOut.model_validate(row.model_dump() | {"id": entry}) for entry, row in rows]
    return shapes.MetricPage(items=items)


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel_run(run_id: str, heed: Heed, me: Engineer, noted: Noted) -> Run:
    """Ask a run to stop; a running one stops within seconds."""
    run = await heed.runs.cancel(run_id)
    if run is None:
        raise not_found("run")
    await noted("cancel", run_id)
    return run


@router.get("/policies")
async def list_policies(heed: Heed, me: Watcher) -> shapes.PolicyPage:
    """Every version with its gate report, and what was active when."""
    active, previous = await heed.policies.active(), await heed.policies.previous()
    return shapes.PolicyPage(
        items=await heed.policies.versions(),
        active=active.number if active else None,
        previous=previous.number if previous else None,
        canary=await heed.policies.canary(),
        timeline=await heed.policies.timeline(),
    )


@router.post("/policies/rollback")
async def rollback(body: shapes.RollbackIn, heed: Heed, me: Releaser, request: Request) -> Activation:
    """Back to the version that was active before."""
    return await heed.policies.rollback(me.id, body.reason, request_id=request.state.request_id)
