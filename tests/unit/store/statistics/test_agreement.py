"""Agreement and calibration against numbers of the literature and by hand."""

from __future__ import annotations

import math

import pytest

from store.statistics.agreement import (
    Judgement,
    cohen_kappas,
    gold_accuracy,
    krippendorff_alpha,
    self_agreement,
)
from store.statistics.calibration import calibration


def judged(**by_annotator: str) -> list[Judgement]:
    """One label a unit; a dot is a unit that the annotator did not judge."""
    return [
        Judgement(unit, name, label)
        for name, labels in by_annotator.items()
        for unit, label in enumerate(labels)
        if label != "."
    ]


def test_alpha_of_krippendorffs_own_examples() -> None:
    # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): A. binary data, C. nominal with gaps.
    two = krippendorff_alpha(judged(a="0100000010", b="1110010000"))
    assert two.alpha == pytest.approx(0.095, abs=5e-4)
    four = krippendorff_alpha(judged(a="123321412...", b="1233224125.3", c=".3332342251.", d="12332441251."))
    assert four.alpha == pytest.approx(0.743, abs=5e-4)
    assert four.n == 11
    assert four.low is not None
    assert four.high is not None
    assert four.low < 0.743 < four.high


def test_alpha_says_nothing_where_nobody_judged_twice_or_all_say_one_thing() -> None:
    assert krippendorff_alpha(judged(a="01.", b="..1")).alpha is None
    assert krippendorff_alpha(judged(a="11", b="11")).alpha is None


def test_kappa_of_fifty_units() -> None:
    # 20 both yes, 5 yes-no, 10 no-yes, 15 both no: observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    (found,) = cohen_kappas(judged(ann="y" * 25 + "n" * 25, bob="y" * 20 + "n" * 5 + "y" * 10 + "n" * 15))
    assert found.annotators == ("ann", "bob")
    assert found.kappa == pytest.approx(0.4)
    assert found.n == 50


def test_a_repeated_judgement_counts_for_the_person_not_for_agreement() -> None:
    said = [*judged(ann="aab", bob="aba"), Judgement(0, "ann", "a"), Judgement(1, "ann", "b")]
    assert krippendorff_alpha(said) == krippendorff_alpha(judged(ann="aab", bob="aba"))
    own = self_agreement(said)
    assert list(own) == ["ann"]
    assert (own["ann"].share, own["ann"].n) == (0.5, 2)


def test_gold_accuracy() -> None:
    found = gold_accuracy(judged(ann="aab", bob="bbb"), {0: "a", 1: "a"})
    assert (found["ann"].share, found["bob"].share, found["bob"].n) == (1.0, 0.0, 2)


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    # sigmoid(log 3) = 0.75 and people agree in 3 of 4.
    found = calibration([math.log(3)] * 4, [True, True, True, False])
    assert found.ece == pytest.approx(0.0)
    assert (found.accuracy.share, found.accuracy.n) == (0.75, 4)
    assert found.bins[0].predicted == pytest.approx(0.75)
    assert found.bins[0].observed.share == 0.75


def test_calibration_error_is_the_mean_gap() -> None:
    # Four said 0.75, all were won (gap 0.25); two said 0.5, none was (gap 0.5): (4 * 0.25 + 2 * 0.5) / 6.
    found = calibration([math.log(3)] * 4 + [0.0] * 2, [True] * 4 + [False] * 2)
    assert found.ece == pytest.approx(2 / 6)
    assert found.accuracy.share == pytest.approx(4 / 6)


def test_scores_that_follow_length_are_seen() -> None:
    assert calibration([1.0, 2.0, 3.0], [True] * 3, [10, 20, 30]).length_slope == pytest.approx(1.0)
    assert calibration([1.0, 1.0], [True] * 2, [10, 20]).length_slope is None
    assert calibration([], []).ece is None
