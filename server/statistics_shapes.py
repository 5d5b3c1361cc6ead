"""What the statistics routes give. The numbers are defined in `store/statistics/`."""

from __future__ import annotations

from server.shapes import Out
from store.explorer.counted import LeftOut
from store.statistics.agreement import Alpha, Kappa
from store.statistics.bradley_terry import Rating, StyleEffect
from store.statistics.calibration import Calibration
from store.statistics.guards import LIMIT, GuardName
from store.statistics.intervals import Share
from store.statistics.sequential import CanaryVerdict
from store.statistics.win_rate import PairRate


class PositionOut(Out):
    """Share of decisive votes for the answer on the left; half is what chance gives."""

    left_share: float | None
    low: float | None
    high: float | None
    n: int


class AnnotatorOut(Out):
    """How one annotator votes."""

    annotator: str
    votes: int
    """Duels that count."""
    left: Share
    self_agreement: Share | None
    """Of the duels that were shown again, those judged the same."""
    gold: Share | None
    """Of the duels whose answer is known, those judged so."""


class GuardOut(Out):
    """One kind of bad outcome of the canary, beside the active version's over the same time."""

    name: GuardName
    allowed: float
    """The canary's odds of it may be this many times the active version's."""
    canary_bad: int
    canary_n: int
    active_bad: int
    active_n: int
    e_value: float
    """Evidence that they are worse than that; at `limit` the canary ends."""
    limit: float = LIMIT


class CanaryOut(CanaryVerdict):
    number: int
    against: int
    """The active version."""
    guards: list[GuardOut]


class StatisticsOut(Out):
    """Computed from blind, active votes on duels in which no answer named its model."""

    versions: list[Rating]
    pairs: list[PairRate]
    position: PositionOut
    agreement: Alpha
    canary: CanaryOut | None
    """None while no version is a canary."""
    counted: int
    """Votes on duels behind these numbers."""
    left_out: LeftOut
    annotators: list[AnnotatorOut]
    kappas: list[Kappa]
    reward_model: Calibration
    """Its scores before it had seen the votes."""


class BoardOut(Out):
    """The leaderboard."""

    versions: list[Rating]
    style: list[StyleEffect]
    """What style control took out of the ratings; empty without it."""
    pairs: list[PairRate]
    counted: int
    left_out: LeftOut
