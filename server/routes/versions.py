"""One version in detail, whether it could serve, and promoting it: at once, or as a canary that grows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from server import versions
from server.dependencies import Heed, Releaser, Watcher
from server.errors import Problem, not_found
from server.version_shapes import (
    EndIn,
    HistoryOut,
    PreflightOut,
    PromotedOut,
    PromoteIn,
    SaidPage,
    ShareIn,
    VersionOut,
)
from store.records import Canary, PolicyVersion

router = APIRouter(prefix="/api/v1", tags=["versions"])

PROMOTABLE = ("candidate", "canary", "retired", "rolled_back")


async def known_version(number: int, heed: Heed) -> PolicyVersion:
    version = await heed.policies.get(number)
    if version is None:
        raise not_found("version")
    return version


KnownVersion = Annotated[PolicyVersion, Depends(known_version)]


@router.get("/policies/history")
async def history(heed: Heed, me: Watcher) -> HistoryOut:
    """Which versions were canaries, and when; what was active stands in `GET /api/v1/policies`."""
    return HistoryOut(canaries=await versions.canaries(heed))


@router.get("/policies/{number}")
async def get_version(version: KnownVersion, heed: Heed, me: Watcher) -> VersionOut:
    """One version: its data, its differences from the parent, its files and its card."""
    return await versions.detail(heed, version)


@router.get("/policies/{number}/samples")
async def get_samples(version: KnownVersion, heed: Heed, me: Watcher) -> SaidPage:
    """What it said to the gate's fixed prompts, which are the same for every version."""
    return SaidPage(items=await versions.said(heed, version))


@router.get("/policies/{number}/preflight")
async def preflight(version: KnownVersion, heed: Heed, me: Watcher) -> PreflightOut:
    """Whether the version could serve: every file is read and compared with its hash."""
    return await versions.preflight(heed, version)


@router.post("/policies/{number}/promote")
async def promote(
    body: PromoteIn, version: KnownVersion, heed: Heed, me: Releaser, request: Request
) -> PromotedOut:
    """Make it active (`share` 1), or try it on a share of the answers."""
    if version.state not in PROMOTABLE:
        detail = f"v{version.number} is {version.state}" + (f": {version.reason}" if version.reason else "")
        raise Problem(409, "not_promotable", detail, remedy="choose a version that passed the gate")
    active = await heed.policies.active()
    if body.share < 1:
        canary = await heed.policies.start_canary(
            version.number,
            body.share,
            me.id,
            body.reason,
            ramp=body.ramp,
            every=heed.config.release.canary_ramp_votes,
        )
        return PromotedOut(active=active.number if active else None, canary=canary)
    await heed.policies.activate(
        version.number,
        me.id,
        body.reason,
        expected=active.number if active else None,
        request_id=request.state.request_id,
    )
    return PromotedOut(active=version.number, canary=None)


@router.put("/canary")
async def change_share(body: ShareIn, heed: Heed, me: Releaser) -> Canary:
    """More or less of the answers for the canary that runs."""
    return await heed.policies.change_canary_share(body.share, me.id, body.reason)


@router.post("/canary/end")
async def end_canary(body: EndIn, heed: Heed, me: Releaser) -> PromotedOut:
    """Promote the canary, roll it back for good, or just stop it."""
    await heed.policies.end_canary(body.outcome, me.id, body.reason)
    active = await heed.policies.active()
    return PromotedOut(active=active.number if active else None, canary=None)
