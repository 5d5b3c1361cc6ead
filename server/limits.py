"""Rate limits of one person, as dependencies of the routes."""

from __future__ import annotations

from server.dependencies import Heed, Me
from server.errors import Problem
from store.records import Account


async def limit_messages(heed: Heed, me: Me) -> None:
    """Raises Problem 429 when this person opens turns too fast."""
    await _spend(heed, "messages", me, heed.config.limits.messages_per_minute)


async def limit_completions(heed: Heed, me: Me) -> None:
    """Raises Problem 429 when this person's programs ask too fast."""
    await _spend(heed, "completions", me, heed.config.limits.completions_per_minute)


async def limit_votes(heed: Heed, me: Me) -> None:
    """Raises Problem 429 when this person votes too fast."""
    await _spend(heed, "votes", me, heed.config.limits.votes_per_minute)


async def _spend(heed: Heed, kind: str, me: Account, per_minute: int) -> None:
    if per_minute and (wait_s := await heed.limits.spend(kind, me.id, per_minute)):
        detail = f"you sent more than {per_minute} {kind} in a minute"
        raise Problem(429, "too_fast", detail, remedy=f"try again in {wait_s} s", retry_after_s=wait_s)
