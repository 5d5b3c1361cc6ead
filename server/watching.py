"""Counting for the canary's guards: what became of the first turn of each conversation begun since it began.

A conversation is in the canary's share or not as a whole, so conversations, not answers, are what chance has
dealt to the versions: each counts once. Its first turn finds no version with a warm cache.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from server.sides import Side
from store.canary_watch import CanaryWatch, Ended
from store.connection import StoreUnavailable
from store.records import Canary

log = logging.getLogger("heed.turns")


async def count_ended(watch: CanaryWatch, canary: Canary, sides: Sequence[Side]) -> None:
    """Count a turn that has ended; one that Redis does not take is left out, as all versions' are alike."""
    ended = [one for side in sides if (one := how_it_ended(side)) is not None]
    try:
        if ended:
            await watch.record(canary, ended)
    except StoreUnavailable as error:
        log.warning("not counted for the guards: %s", error)


def how_it_ended(side: Side) -> Ended | None:
    """None where no engine took it, or several versions spoke: that is no version's doing."""
    outcome = side.outcome
    if outcome is None or side.began_at is None or len(outcome.versions) != 1:
        return None
    return Ended(
        version=outcome.policy_version,
        failed=outcome.state == "failed",
        stopped=outcome.state == "stopped" if outcome.duel_id is None else None,
        truncated=outcome.finish_reason == "length" if outcome.state == "finished" else None,
        first_word_s=side.first_word_s,
    )
