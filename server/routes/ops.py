"""For machines: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.dependencies import Heed, Watcher, open_to_all, refuse_on_a_full_disk
from server.errors import NoEngine

router = APIRouter(tags=["ops"])


@router.get("/healthz")
@open_to_all
async def alive() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
@open_to_all
async def ready(heed: Heed) -> dict[str, str]:
    """Votes can be counted and an engine can answer; 503 otherwise, 507 on a full disk."""
    await heed.votes.total()
    refuse_on_a_full_disk(heed.settings.data)
    if not heed.pool.served():
        raise NoEngine("no engine is ready yet")
    return {"status": "ok"}


@router.get("/metrics")
async def metrics(heed: Heed, me: Watcher) -> Response:
    """Prometheus text. It names versions: give the scraper an API key with the scope `read`."""
    heed.metrics.engines(heed.pool.statuses())
    heed.metrics.active(await heed.policies.active())
    return Response(generate_latest(heed.metrics.registry), media_type=CONTENT_TYPE_LATEST)
