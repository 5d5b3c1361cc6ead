"""The engine registry: join, drain, leave, each with its line in the audit log."""

from __future__ import annotations

import pytest

from store.audit import Audit
from store.connection import Redis
from store.engines import EngineNameTaken, EngineRegistry, EngineUnknown
from store.records import EngineMember, now

pytestmark = pytest.mark.anyio


def member(name: str, address: str = "https://10.0.0.7:8090") -> EngineMember:
    return EngineMember(name=name, address=address, device=name, actor="ann", joined_at=now())


async def test_engines_join_drain_and_leave(client: Redis) -> None:
    registry = EngineRegistry(client)
    await registry.join(member("b"))
    await registry.join(member("a"))
    await registry.drain("b", True, "ann")
    assert [one.name for one in await registry.members()] == ["a", "b"]
    assert await registry.draining() == {"b"}
    await registry.leave("b", "ann")
    assert [one.name for one in await registry.members()] == ["a"]
    assert await registry.draining() == set(), "who joins again is not draining"
    with pytest.raises(EngineUnknown):
        await registry.leave("b", "ann")
    acts = [(event.action, event.object, event.actor) for event in await Audit(client).newest()]
    assert acts == [
        ("engine_leave", "b", "ann"),
        ("engine_drain", "b", "ann"),
        ("engine_join", "a", "ann"),
        ("engine_join", "b", "ann"),
    ]


async def test_a_name_belongs_to_one_address(client: Redis) -> None:
    registry = EngineRegistry(client)
    await registry.join(member("a"))
    await registry.join(member("a"))
    with pytest.raises(EngineNameTaken):
        await registry.join(member("a", "https://10.0.0.8:8090"))


async def test_draining_twice_is_written_once(client: Redis) -> None:
    registry = EngineRegistry(client)
    for draining in (True, True, False, False):
        await registry.drain("engine-1", draining, "ann")
    acts = [event.action for event in await Audit(client).newest()]
    assert acts == ["engine_resume", "engine_drain"]


@pytest.mark.parametrize(
    "address", ["unix:///x.sock", "https://host:1/path", "https://user@host", "ftp://host", "https://a b"]
)
def test_an_address_is_a_plain_http_url(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        member("a", address)
