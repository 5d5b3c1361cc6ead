"""The System page's one route."""

from __future__ import annotations

from fastapi import APIRouter

from server import system
from server.dependencies import Heed, Watcher
from server.system_shapes import SystemOut

router = APIRouter(prefix="/api/v1", tags=["system"])


@router.get("/system")
async def look_at_system(heed: Heed, me: Watcher) -> SystemOut:
    """Redis, queues, workers, engines, disk, clock, software: how they are, and each problem with its fix."""
    return await system.look(heed)
