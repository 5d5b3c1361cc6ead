"""The pool follows the engine registry: engines join, drain and leave while answers are given."""

from __future__ import annotations

import logging

from server.engines.client import EngineClient
from server.engines.engine import Engine
from server.engines.pool import EnginePool
from store.engines import EngineRegistry
from store.records import EngineMember

log = logging.getLogger("heed.engines")


async def follow(pool: EnginePool, registry: EngineRegistry, token: str | None) -> None:
    """Make the pool's engines those of the settings and of the registry. Raises StoreUnavailable.

    An engine that left gives no new answers at once, and goes when its last one has ended.
    """
    members = {member.name: member for member in await registry.members()}
    draining = await registry.draining()
    for engine in pool.engines:
        left = engine.joined and not _is(engine, members.get(engine.name))
        if (engine.name in draining or left) != engine.leaving:
            engine.leaving = not engine.leaving
            log.info("%s %s", engine.name, "gets no new answers" if engine.leaving else "answers again")
        if left and not engine.leases and not engine.busy:
            pool.engines.remove(engine)
            log.info("%s has left", engine.name)
            if engine.seeing is not None:
                engine.seeing.cancel()
            await engine.client.close()
    known = {engine.name for engine in pool.engines}
    for name in members.keys() - known:
        member = members[name]
        client = EngineClient(name, member.address, member.device, token)
        await client.open()
        pool.engines.append(Engine(client, joined=True))
        log.info("%s has joined", name)
    pool.route()


def _is(engine: Engine, member: EngineMember | None) -> bool:
    """Whether the engine is that member: one that left and joined elsewhere is another one."""
    client = engine.client
    return member is not None and (member.address, member.device) == (client.address, client.device)
