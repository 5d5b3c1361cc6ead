"""The engine fleet: engines on other hosts join, drain and leave while answers are given."""

from __future__ import annotations

from fastapi import APIRouter, Response

from server.dependencies import Admin, Heed, Parts, Watcher
from server.engine_shapes import DrainIn, EngineIn, EngineOut, EnginePage
from server.errors import Problem, not_found
from store.engines import EngineNameTaken
from store.records import EngineMember, EngineStatus, now

router = APIRouter(prefix="/api/v1/engines", tags=["engines"])


@router.get("")
async def list_engines(heed: Heed, me: Watcher) -> EnginePage:
    """Every engine as the servers saw it last: what it holds, how it is, how many answers it gives."""
    joined = {member.name for member in await heed.registry.members()}
    statuses = await heed.policies.engines()
    return EnginePage(items=[EngineOut(status=one, joined=one.name in joined) for one in statuses])


@router.post("", status_code=201)
async def join(body: EngineIn, heed: Heed, admin: Admin) -> EngineMember:
    """Add an engine by the address of its sidecar. It takes the active version, then gives answers."""
    joined = {member.name for member in await heed.registry.members()}
    if body.name in {status.name for status in await heed.policies.engines()} - joined:
        raise EngineNameTaken(body.name)
    member = EngineMember(
        name=body.name,
        address=body.address,
        device=body.device or body.name,
        actor=admin.id,
        joined_at=now(),
    )
    await heed.registry.join(member)
    return member


@router.post("/{name}/drain", status_code=202)
async def drain(name: str, body: DrainIn, heed: Heed, admin: Admin) -> EngineStatus:
    """Give an engine no new answers, for work on its host; those under way end. Or let it take part again."""
    status = await _known(heed, name)
    if body.draining:
        await _others_answer(heed, name)
    await heed.registry.drain(name, body.draining, admin.id)
    return status.model_copy(update={"draining": body.draining})


@router.delete("/{name}", status_code=204)
async def leave(name: str, heed: Heed, admin: Admin) -> Response:
    """Remove an engine that joined. Its answers under way end first."""
    if name not in {member.name for member in await heed.registry.members()}:
        await _known(heed, name)
        detail = f"{name} is in the servers' settings"
        remedy = "drain it here, or take it out of HEED_ENGINES and restart the servers"
        raise Problem(409, "not_joined", detail, field="name", remedy=remedy)
    if any(status.name == name and status.state == "ready" for status in await heed.policies.engines()):
        await _others_answer(heed, name)
    await heed.registry.leave(name, admin.id)
    return Response(status_code=204)


async def _known(heed: Parts, name: str) -> EngineStatus:
    for status in await heed.policies.engines():
        if status.name == name:
            return status
    raise not_found("engine")


async def _others_answer(heed: Parts, name: str) -> None:
    for status in await heed.policies.engines():
        if status.name != name and status.state == "ready" and not status.draining:
            return
    detail = f"{name} is the only engine that gives answers"
    raise Problem(409, "last_engine", detail, field="name", remedy="let another engine join first")
