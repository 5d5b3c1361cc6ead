"""Checks of the reward model's gate, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from store.records import GateCheck
from trainer.config import RewardGateConfig
from trainer.pair_report import PairReport, Share, pair_report
from trainer.pairs import TokenPair
from trainer.reward_checks import choice_checks, choices, report_checks

CONFIG = RewardGateConfig()


def report(ahead: list[float], longer: list[int]) -> PairReport:
    """Of pairs whose preferred answer is so far ahead, and so much longer, than the other one ."""
    pairs = [
        TokenPair(
            chosen=[1] * (30 + more), rejected=[1] * 30, prompt_length=10, weight=1.0, source="vote", new=True
        )
        for more in longer
    ]
    return pair_report(pairs, torch.tensor([*ahead, *[0.0] * len(ahead)]))


def judged(ahead: list[float], longer: list[int], agreement: Share | None = None) -> dict[str, GateCheck]:
    return {check.name: check for check in report_checks(report(ahead, longer), agreement, CONFIG)}


def failed(checks: dict[str, GateCheck]) -> set[str]:
    return {name for name, check in checks.items() if not check.passed}


def test_a_sound_reward_model_passes() -> None:
    # Right on 30 of 40 and sure of log(3): sigmoid is 0.75 for each.
    sure = math.log(3)
    checks = judged([sure] * 30 + [-sure] * 10, [5, -5] * 20)
    assert failed(checks) == set()
    assert list(checks) == ["accuracy", "calibration", "length_slope"]
    assert checks["accuracy"].value == 0.75
    assert checks["calibration"].value == 0.0


def test_one_that_guesses_is_refused_when_the_pairs_prove_it() -> None:
    # 24 of 50: 0.35 to 0.615, may be 0.6. 49 of 100: 0.394 to 0.587, cannot.
    few, many = (judged([0.1, -0.1] * (n // 2 - 1) + [-0.1, -0.1], [5, -5] * (n // 2)) for n in (50, 100))
    assert (few["accuracy"].value, many["accuracy"].value) == (0.48, 0.49)
    assert (failed(few), failed(many)) == (set(), {"accuracy"})
    assert many["accuracy"].reason.startswith("49% of held-out pairs ranked as the votes say (n = 100,")


def test_one_that_is_far_too_sure_is_refused() -> None:
    # Sure of sigmoid(6) = 0.9975 and right on 24 of 40: 0.9975 - 0.7365 (Wilson's upper end) = 0.261.
    checks = judged([6.0] * 24 + [-6.0] * 16, [5, -5] * 20)
    assert failed(checks) == {"calibration"}
    assert checks["calibration"].value == pytest.approx(0.261, abs=2e-3)
    assert "sure of 100% of 40 held-out pairs and right on 60%" in checks["calibration"].reason
    # Less sure than right is no fault: 0.6 on pairs of which all are right.
    assert failed(judged([0.4] * 40, [5, -5] * 20)) == set()
    # Of 4 pairs with one mistake the same says nothing.
    assert failed(judged([6.0] * 3 + [-6.0], [5, -5] * 2)) == set()


def test_length_counts_against_what_people_prefer_not_by_itself() -> None:
    # People prefer the shorter answer of every pair, and so does the model: a slope, but a true one.
    taste = judged([3.0] * 40, [-20] * 40)
    assert taste["length_slope"].value == pytest.approx(1 / (1 + math.exp(3)))
    assert "-15.00 score per 100 tokens" in taste["length_slope"].reason
    assert taste["length_slope"].passed
    # One that has seen few votes is not so sure yet, and between them and one half.
    unsure = judged([0.4] * 40, [-20] * 40)
    assert unsure["length_slope"].value == pytest.approx(0.401, abs=1e-3)
    assert unsure["length_slope"].passed
    # People prefer the longer one in half of the pairs; the model expects it with sigmoid(3) in all.
    biased = judged([3.0, -3.0] * 20, [20, -20] * 20)
    assert biased["length_slope"].value == pytest.approx(1 / (1 + math.exp(-3)) - 0.5)
    assert not biased["length_slope"].passed
    assert "expects the longer answer to be preferred in 95% of 40 held-out pairs, people do in 50%" in (
        biased["length_slope"].reason
    )


def test_one_that_contradicts_the_one_before_is_refused() -> None:
    sure = math.log(3)
    for share, passes in ((0.45, True), (0.2, False)):
        checks = judged([sure] * 30 + [-sure] * 10, [5, -5] * 20, Share(share=share, low=0.0, high=1.0, n=40))
        assert checks["agreement"].passed is passes


def test_choices_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]])
    held_back = torch.tensor([[0.0, 4.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.0, 0.0]])
    lengths = torch.tensor([[10, 20, 5, 5], [8, 8, 8, 8], [9, 1, 9, 2]])
    found = choices(scores, held_back, lengths)
    # 4 against a mean of 1: better. All equal: half. 0 against 0.75: not.
    assert (found.n, found.better) == (3, 1.5)
    # The longest; one of four equally long ones; not.
    assert found.longest == 1.25
    # The judge's favourites: the longest; one of four; one of two.
    assert found.judges_longest == 1.75


@pytest.mark.parametrize(
    ("better", "longest", "refused"),
    [(18, 6, set()), (18, 10, set()), (5, 6, {"best_of_n"}), (18, 22, {"longest_of_n"})],
)
def test_favourites_must_please_another_judge_and_not_just_be_long(
    better: int, longest: int, refused: set[str]
) -> None:
    found = choices(torch.rand(2, 4), torch.rand(2, 4), torch.ones(2, 4)).model_copy(
        update={"n": 24, "better": better, "longest": longest, "judges_longest": 6}
    )
    checks = {check.name: check for check in choice_checks(found, CONFIG)}
    assert failed(checks) == refused
    # 10 of 24: 0.24 to 0.61; 22 of 24: 0.74 to 0.98, all above 6 / 24 + 0.25.
    # 5 of 24: 0.09 to 0.41, all below 0.5.
    assert checks["longest_of_n"].threshold == 0.5
