"""Guards may be looked at after every block, and stop a harmless canary in at most one of twenty."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest

from store.statistics.guards import LIMIT, Guard, Outcomes, add, slow_from, tripped, wait_bucket


def after(blocks: list[tuple[Outcomes, Outcomes]], allowed: float = 1.0) -> Guard:
    guard = Guard(name="failed", allowed=allowed)
    for canary, active in blocks:
        guard = add(guard, canary, active)
    return guard


def law(canary: int, active: int, bad: int, odds: float) -> list[float]:
    """Chance that k of the bad ones are the canary's, k from 0 to all of them."""
    ways = [math.comb(canary, k) * math.comb(active, bad - k) * odds**k for k in range(bad + 1)]
    return [one / sum(ways) for one in ways]


def test_one_bad_answer_worked_out_by_hand() -> None:
    # One of the canary's two and the active version's six answers was bad: it is the canary's with
    # probability 2 t / (2 t + 6) at odds ratio t, and 1/4 at 1.
    guard = after([(Outcomes(1, 2), Outcomes(0, 6))])
    by_hand = np.mean([2 * t / (2 * t + 6) / 0.25 for t in (1.5, 2, 3, 5, 10, 30)])
    assert guard.e_value == pytest.approx(by_hand)
    assert (guard.canary_bad, guard.canary_n, guard.active_bad, guard.active_n) == (1, 2, 0, 6)


def test_the_law_is_fishers_noncentral_hypergeometric() -> None:
    guard = after([(Outcomes(3, 7), Outcomes(2, 11))], allowed=2.0)
    laws = [law(7, 11, 5, 2.0 * beyond) for beyond in (1, 1.5, 2, 3, 5, 10, 30)]
    ratios = [math.log(one[3] / laws[0][3]) for one in laws[1:]]
    assert guard.log_e == pytest.approx(ratios)


def test_blocks_without_news_say_nothing() -> None:
    nothing = [
        (Outcomes(0, 5), Outcomes(0, 9)),
        (Outcomes(5, 5), Outcomes(9, 9)),
        (Outcomes(4, 4), Outcomes(0, 0)),
    ]
    assert after(nothing).e_value == pytest.approx(1.0)


def test_an_outage_that_hits_everybody_is_not_the_canarys_doing() -> None:
    assert after([(Outcomes(1, 20), Outcomes(2, 20)), (Outcomes(19, 20), Outcomes(20, 20))]).e_value < 1.5


@pytest.mark.parametrize(("allowed", "share", "expected"), [(1.0, 1, 9), (2.0, 1, 15), (2.0, 19, 3)])
def test_one_that_only_fails_is_found_soon(allowed: float, share: int, expected: int) -> None:
    # One answer of the canary's beside 1 or 19 of the active version's in each block: with a small share,
    # chance explains less.
    blocks = [(Outcomes(1, 1), Outcomes(0, share))] * 20
    found = next(n for n in range(1, 21) if tripped([after(blocks[:n], allowed)]))
    assert found == expected


@pytest.mark.parametrize(("times", "allowed"), [(1.0, 1.0), (2.0, 2.0), (1.0, 2.0)])
def test_a_canary_within_what_is_allowed_is_rarely_stopped(times: float, allowed: float) -> None:
    # All guards together may stop 5 %, so one of five may stop 1 %: 4 of 200 has a chance of 14 % above that.
    chance = np.random.default_rng(1)
    bad = 0.2
    worse = times * bad / (1 - bad + times * bad)
    stopped = 0
    for _ in range(200):
        guard = Guard(name="failed", allowed=allowed)
        for _ in range(60):
            n, m = int(chance.integers(0, 4)), int(chance.integers(0, 8))
            canary, others = int(chance.binomial(n, worse)), int(chance.binomial(m, bad))
            guard = add(guard, Outcomes(canary, n), Outcomes(others, m))
            if guard.e_value >= LIMIT:
                stopped += 1
                break
    assert stopped <= 5


def test_evidence_has_a_mean_of_at_most_one() -> None:
    # The mean over every outcome of a block, at the allowed odds ratio and below it.
    for truth in (1.0, 2.0):
        chances = law(7, 11, 5, truth)
        mean = sum(chances[k] * after([(Outcomes(k, 7), Outcomes(5 - k, 11))], 2.0).e_value for k in range(6))
        assert mean == pytest.approx(1.0) if truth == 2.0 else mean < 1.0


def test_slow_is_later_than_nine_in_ten_so_far() -> None:
    waits = {wait_bucket(0.1): 17, wait_bucket(0.2): 2, wait_bucket(5.0): 1}
    assert slow_from(waits) == wait_bucket(0.2)
    assert slow_from({wait_bucket(0.1): 19}) is None, "too few to know"


def test_buckets_grow_by_a_quarter() -> None:
    assert [wait_bucket(s) for s in (0.0, 0.01, 0.0125, 0.02)] == [0, 0, 1, 4]
    assert list(accumulate(map(wait_bucket, (0.5, 1.0, 100.0)), max)) == [18, 21, 42]
