"""Statistics of the votes and the leaderboard of versions."""

from __future__ import annotations

from fastapi import APIRouter

from server.dependencies import Heed, Watcher
from server.statistics_shapes import BoardOut, StatisticsOut

router = APIRouter(prefix="/api/v1", tags=["statistics"])


@router.get("/statistics")
async def get_statistics(heed: Heed, _: Watcher) -> StatisticsOut:
    """Win rates, ratings, the canary's test, position bias, agreement; each with its n and interval."""
    return await heed.statistics.all()


@router.get("/leaderboard")
async def leaderboard(heed: Heed, _: Watcher, style: bool = False) -> BoardOut:
    """Versions by rating; `style` takes out what length and markdown are worth."""
    return await heed.statistics.board(style=style)
