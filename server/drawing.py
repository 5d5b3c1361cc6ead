"""One answer from the pool: what fits into the context, and a second try when an engine fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from server.engines.client import Delta
from server.engines.engine import Lease
from server.engines.pool import EnginePool
from server.engines.prefix import can_go_on
from server.errors import EngineFailed, NoEngine, Problem, VersionNotServed
from store.records import ChatTurn, Sampling

TEMPLATE_TOKENS = 512
log = logging.getLogger("heed.turns")


async def room(
    pool: EnginePool, messages: Sequence[ChatTurn], max_tokens: int, *, field: str = "text"
) -> int:
    """How many tokens the answer may have: `max_tokens`, or what the context leaves.

    Raises Problem (422, naming `field`) when the context is full already, NoEngine when nobody can count.
    """
    # A token is at least one byte: what is surely short enough needs no question to the engine.
    at_most = sum(len(turn.content.encode()) for turn in messages) + 32 * len(messages) + TEMPLATE_TOKENS
    if at_most + max_tokens <= pool.max_model_len:
        return max_tokens
    tokens, limit = await pool.count_tokens(messages), pool.max_model_len
    if tokens >= limit:
        detail = f"the prompt has {tokens} tokens; the model takes {limit}, prompt and answer together"
        raise Problem(422, "too_long", detail, field=field, remedy="shorten it or start a new conversation")
    return min(max_tokens, limit - tokens)


async def speak(
    pool: EnginePool,
    lease: Lease,
    messages: Sequence[ChatTurn],
    sampling: Sampling,
    *,
    version: int | None,
    user: str,
    said: str = "",
) -> AsyncGenerator[tuple[Delta, Lease], None]:
    """One answer piece by piece, with the lease it comes from; releases the lease.

    An engine that breaks off is replaced once: before the first word by any that holds `version`, later by
    one of the same version that goes on after what was said. `said`: what an earlier try has said already.
    Raises EngineFailed.
    """
    tries = 1
    while True:
        try:
            async with aclosing(pool.stream(lease, messages, sampling, said)) as deltas:
                async for delta in deltas:
                    said += delta.text
                    yield delta, lease
            return
        except EngineFailed as error:
            # What two versions have said together is gone on with by neither.
            if tries == 2 or (said and (len(lease.versions) > 1 or not can_go_on(sampling))):
                raise
            log.warning("trying once more: %s", error)
            failure = error
        finally:
            await lease.release()
        tries += 1
        try:
            lease = await pool.lease(lease.version if said else version, user=user)
        except (NoEngine, VersionNotServed):
            raise failure from None
