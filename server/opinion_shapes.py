"""What the API says of the reward model's opinions. Nothing here is ever sent before the vote."""

from __future__ import annotations

from typing import Literal

from server.shapes import Out
from store.opinions import ScoredAnswer


class OpinionOut(Out):
    """What the reward model thought of the answers of one vote."""

    state: Literal["scored", "waiting", "none"]
    """`none`: none will ever come, for example because no reward model stands behind these versions."""
    reward_model: int | None = None
    """Which: the one of this policy version."""
    answers: tuple[ScoredAnswer, ...] = ()
    """In the order shown. Scores of different reward models cannot be compared."""
    prefers: Literal["a", "b"] | None = None
    """Of two answers the one with the higher score; None of equal scores and of more answers."""
    chance: float | None = None
    """How sure it was: sigmoid of the difference of the scores, which is what it was trained to say."""
    learned_from: bool = False
    """It had learned from this vote, so this is no prediction."""
