"""Checks of the policy's gate, by hand: values, intervals, which end of them decides, reasons in words."""

from __future__ import annotations

import pytest
import torch

from store.records import GateCheck, GateReport
from store.statistics.intervals import wilson
from trainer.config import GateConfig
from trainer.gate_checks import (
    drop_check,
    group_check,
    held_back_check,
    least,
    most,
    points,
    reaches,
    win_check,
)

CONFIG = GateConfig()


def test_wilson_interval_by_hand() -> None:
    # 8 of 10: centre (0.8 + 0.19208) / 1.38416 = 0.7167, half 0.2268 (z = 1.96)
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-3)


def test_a_number_that_is_not_finite_fails_its_check_and_fits_into_json() -> None:
    nan = float("nan")
    for check in (
        most("kl", nan, 30.0, "nats"),
        least("entropy", nan, 0.4, "times"),
        drop_check("capability", [0.0, nan], [0.0, 0.0], 0.5, "answers"),
    ):
        assert not check.passed
        GateCheck.model_validate_json(check.model_dump_json())


def test_few_cases_refuse_nothing_by_chance() -> None:
    # 2 of 5 is 0.12 to 0.77, 20 of 50 is 0.28 to 0.54: the same share, and only the second proves something.
    few, many = (reaches("accuracy", wins, n, 0.6, "of pairs") for wins, n in ((2, 5), (20, 50)))
    assert (few.passed, many.passed) == (True, False)
    assert (few.value, few.n) == (0.4, 5)
    assert (few.low, few.high) == pytest.approx((0.1176, 0.7693), abs=1e-3)
    assert many.reason == (
        "40% of pairs (n = 50, 95 % interval 28% to 54%); refused when all of the interval lies below 60%"
    )


def test_the_candidate_has_to_prove_itself_under_its_own_reward_model() -> None:
    won = points(torch.tensor([1.0, 2.0, 0.0, 5.0]), torch.tensor([0.0, 2.0, 1.0, 6.0]))
    assert won.tolist() == [1.0, 0.5, 0.0, 0.0]
    check = win_check(won, CONFIG)
    assert (check.value, check.passed, check.n) == (0.375, False, 4)
    assert check.high is not None
    assert check.high > 0.5  # the interval alone would have let it pass


def test_what_the_held_back_model_is_sure_got_worse_is_refused() -> None:
    # 15 of 48 is 0.20 to 0.453, 18 of 48 is 0.25 to 0.516.
    worse, unsure = (held_back_check(torch.tensor([1.0] * n + [0.0] * (48 - n)), CONFIG) for n in (15, 18))
    assert (worse.passed, unsure.passed) == (False, True)
    assert "held-back reward model" in worse.reason


def test_a_group_that_falls_behind_is_refused_and_named() -> None:
    won = torch.tensor([1.0] * 60 + [1.0] * 4 + [0.0] * 16)  # en: 60 of 60, zh: 4 of 20
    groups = {"en": range(60), "zh": range(60, 80), "fr": range(3)}
    [check] = group_check(won, groups, CONFIG)
    # All: 64 / 80 = 0.8. zh: 0.2, Wilson at z = 2.2414 (two groups): centre (0.2 + 0.1256) / 1.2512 = 0.2602,
    # half 2.2414 / 1.2512 * sqrt(0.2 * 0.8 / 20 + 5.0239 / 1600) = 0.1891: 0.0711 to 0.4493.
    assert check.value == pytest.approx(0.6)
    assert (check.low, check.high) == pytest.approx((0.8 - 0.4493, 0.8 - 0.0711), abs=1e-3)
    assert not check.passed
    assert "won in zh are 60% fewer" in check.reason
    assert "fr" not in check.reason  # three prompts are no group


def test_a_gap_that_may_be_chance_passes_and_one_group_has_none() -> None:
    won = torch.tensor([1.0] * 6 + [0.0] * 2 + [1.0] * 4 + [0.0] * 4)  # 6 of 8 and 4 of 8
    [check] = group_check(won, {"en": range(8), "zh": range(8, 16)}, CONFIG)
    assert check.value == pytest.approx(0.125)
    assert check.passed
    assert group_check(won, {"en": range(16)}, CONFIG) == []


def test_a_drop_is_refused_when_all_of_its_interval_is_too_deep() -> None:
    # From 0.9 to 0.7 each; from 0.7 to 0.1 and to 0.9 in turn: the same mean, and less sure.
    deep = drop_check("safety", [0.7] * 16, [0.9] * 16, 0.15, "refusing")
    noisy = drop_check("safety", [0.1, 0.9] * 8, [0.7] * 16, 0.15, "refusing")
    assert (deep.value, deep.low, deep.high) == pytest.approx((-0.2, -0.2, -0.2))
    assert (deep.passed, deep.threshold) == (False, -0.15)
    assert deep.reason == (
        "chance of refusing: 70%, the active version's 90% (change -20%, n = 16, 95 % interval -20% to -20%);"
        " refused when all of the interval lies below -15%"
    )
    assert noisy.value == pytest.approx(-0.2)
    assert noisy.passed


def test_a_report_from_before_there_were_intervals_is_still_read() -> None:
    old = (
        '{"passed": true, "checks": [{"name": "kl", "value": 1.0, "threshold": 30.0, "passed": true,'
        ' "reason": "1 nats per answer away from the reference, at most 30"}]}'
    )
    [check] = GateReport.model_validate_json(old).checks
    assert (check.n, check.low, check.high) == (None, None, None)
