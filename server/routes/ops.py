"""For machines: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.dependencies import Heed, open_to_all
from server.errors import NoEngine
from server.metrics import IN_FLIGHT, SERVING

router = APIRouter(tags=["ops"])


@router.get("/healthz")
@open_to_all
async def alive() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
@open_to_all
async def ready(heed: Heed) -> dict[str, str]:
    """Votes can be counted and an engine can answer; 503 otherwise."""
    await heed.votes.total()
    if not heed.pool.served():
        raise NoEngine("no engine is ready yet")
    return {"status": "ok"}


@router.get("/metrics")
@open_to_all
async def metrics(heed: Heed) -> Response:
    """Prometheus text."""
    for status in heed.pool.statuses():
        IN_FLIGHT.labels(engine=status.name).set(status.in_flight)
    SERVING.set(heed.pool.serving or 0)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
