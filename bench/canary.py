"""How often a canary is decided wrongly, and how soon: 1,000 simulated canaries of each kind.

.venv/bin/python -m bench.canary

The product's own parts decide: who is in the share (`server/choice.py`), the sequential test, the ramp, the
guards. Each conversation has one duel with a decisive vote, and each of its answers may go wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.choice import in_canary
from store.ramp import next_step, on_a_ramp
from store.records import Canary, now
from store.statistics.guards import GUARDS, Guard, GuardName, Outcomes, add, tripped
from store.statistics.intervals import wilson
from store.statistics.sequential import ALPHA, MAX_VOTES, log_e_value
from workers.settings import Release

CANARIES = 1000
RAMP = (0.05, 0.25, 0.5, 1.0)
SHARES: Mapping[str, Sequence[float]] = {"50 %": (0.5,), "ramp": RAMP}
RATES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
LOOK_EVERY = 10
"""Conversations between two looks of the guards."""
MOST = 2500
"""Conversations after which nobody waits for a verdict any more."""
USUAL: Mapping[GuardName, float] = {
    **{"failed": 0.01, "slow": 0.1, "stopped": 0.05},
    **{"truncated": 0.15, "thumbs_down": 0.1},
}
"""How often an answer of the active version goes wrong."""
Verdict = Literal["better", "worse", "undecided", "guard"]


class Found(NamedTuple):
    """What became of the canaries of one kind."""

    promoted: float
    rolled_back: float
    undecided: float
    median_votes: float
    """Decisive votes until a verdict, of those with one; NaN without any."""


class End(NamedTuple):
    """How one simulated canary ended."""

    verdict: Verdict
    votes: int
    conversations: int


def enough_wins(votes: int = MAX_VOTES) -> NDArray[np.int64]:
    """(votes,): the fewest wins of n = 1, 2, ... decisive votes that end the test; n + 1 where none do."""
    fewest = []
    wins = 0
    for n in range(1, votes + 1):
        # One more vote never lowers the bar, and raises it by one win at most.
        while wins <= n and log_e_value(wins, n - wins) < math.log(1 / ALPHA):
            wins += 1
        fewest.append(wins)
    return np.array(fewest)


def outcomes(rate: float, bar: NDArray[np.int64], *, canaries: int = CANARIES, seed: int = 0) -> Found:
    """What becomes of canaries that truly win this share of the decisive votes, looked at after each vote."""
    won = np.random.default_rng(seed).random((canaries, len(bar))) < rate
    wins = np.cumsum(won, axis=1)
    n = np.arange(1, len(bar) + 1)
    up, down = wins >= bar, n - wins >= bar
    first_up, first_down = (_first(crossed) for crossed in (up, down))
    end = np.minimum(first_up, first_down)
    promoted = first_up < first_down
    decided = end < len(bar)
    return Found(
        promoted=float(promoted.mean()),
        rolled_back=float((decided & ~promoted).mean()),
        undecided=float((~decided).mean()),
        median_votes=float(np.median(end[decided] + 1)) if decided.any() else math.nan,
    )


def trial(
    seed: int,
    *,
    rate: float = 0.5,
    ramp: Sequence[float] = (0.5,),
    odds: Mapping[GuardName, float] | None = None,
    voting: bool = True,
) -> End:
    """One canary that wins this share of the votes, with these odds ratios of what goes wrong (else 1)."""
    release, chance = Release(), np.random.default_rng(seed)
    begun = Canary(number=seed + 2, share=1.0, started_at=now(), actor="bench", reason="simulated")
    canary = on_a_ramp(begun, tuple(ramp), release.canary_ramp_votes)
    guards = [Guard(name=name, allowed=release.allowed(name)) for name in GUARDS]
    usual = np.array([USUAL[name] for name in GUARDS])
    ratios = np.array([(odds or {}).get(name, 1.0) for name in GUARDS])
    worse = ratios * usual / (1 - usual + ratios * usual)
    drawn, won = chance.random((MOST, 2, len(GUARDS))), chance.random(MOST) < rate
    bar, block, n, wins = _bar(), np.zeros((2, 1 + len(GUARDS)), dtype=int), 0, 0
    for conversation in range(MOST):
        tried = in_canary(f"conv_{seed}_{conversation}", canary)
        for answer in range(2):  # a duel: one of each in the canary's share, else two of the active version
            of_canary = tried and answer == 0
            block[int(of_canary), 0] += 1
            block[int(of_canary), 1:] += drawn[conversation, answer] < (worse if of_canary else usual)
        if conversation % LOOK_EVERY == LOOK_EVERY - 1:
            guards = [_weighed(guard, block[:, [0, 1 + at]]) for at, guard in enumerate(guards)]
            block[:] = 0
            if tripped(guards):
                return End("guard", n, conversation + 1)
        if tried and voting:
            n, wins = n + 1, wins + int(won[conversation])
            if wins >= bar[n - 1] or n - wins >= bar[n - 1]:
                return End("better" if wins >= bar[n - 1] else "worse", n, conversation + 1)
            if n == MAX_VOTES:
                break
            canary = next_step(canary, n, release.canary_ramp_votes) or canary
    return End("undecided", n, conversation + 1)


def _weighed(guard: Guard, block: NDArray[np.int64]) -> Guard:
    """block: (2, 2), answers and bad ones of the active version, then of the canary."""
    (n, bad), (canary_n, canary_bad) = ((int(a), int(b)) for a, b in block)
    return add(guard, Outcomes(canary_bad, canary_n), Outcomes(bad, n))


@lru_cache(maxsize=1)
def _bar() -> list[int]:
    return [int(wins) for wins in enough_wins()]


def _first(crossed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,): the first True of each row; the row's length where there is none."""
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), crossed.shape[1])


def _share(ends: Sequence[End], verdict: Verdict) -> str:
    hits = sum(end.verdict == verdict for end in ends)
    low, high = wilson(hits, len(ends))
    return f"{hits / len(ends):6.1%} [{low:5.1%}, {high:6.1%}]"


def _median(numbers: Sequence[int]) -> str:
    return f"{np.median(numbers):.0f}" if numbers else "-"


def by_votes() -> None:
    """Canaries that differ in what people prefer, and in nothing that a guard sees."""
    print(f"{CANARIES} canaries each, looked at after every decisive vote, at most {MAX_VOTES} of them")
    print(
        "true rate  share  promoted                 rolled back              guard stops"
        "              votes, conversations to the verdict (median)"
    )
    for rate in RATES:
        for name, ramp in SHARES.items():
            ends = [trial(seed, rate=rate, ramp=ramp) for seed in range(CANARIES)]
            right = [end for end in ends if end.verdict == ("better" if rate > 0.5 else "worse")]
            votes, talks = [end.votes for end in right], [end.conversations for end in right]
            print(
                f"{rate:9.0%}  {name:5}  {_share(ends, 'better')}  {_share(ends, 'worse')}"
                f"  {_share(ends, 'guard')}  {_median(votes):>5}, {_median(talks)}",
                flush=True,
            )


def by_guards() -> None:
    """Canaries that nobody votes on: with one thing that goes wrong more often, and with all as allowed."""
    print(
        f"\nguards alone, {CANARIES} canaries each, {MOST} conversations at most, no votes, share 5 and 50 %"
    )
    print("odds of                       share  stopped                  conversations until then (median)")
    allowed = {name: Release().allowed(name) for name in GUARDS}
    kinds: dict[str, Mapping[GuardName, float]] = {"all as usual": {}, "all as bad as allowed": allowed}
    kinds |= {f"{name} x {times}": {name: times} for name in GUARDS for times in (5.0, 30.0)}
    for name, odds in kinds.items():
        for share in (0.05, 0.5):
            ends = [trial(seed, ramp=(share,), odds=odds, voting=False) for seed in range(CANARIES)]
            when = [end.conversations for end in ends if end.verdict == "guard"]
            print(f"{name:28}  {share:5.0%}  {_share(ends, 'guard')}  {_median(when):>5}", flush=True)


def main() -> None:
    by_votes()
    by_guards()


if __name__ == "__main__":
    main()
