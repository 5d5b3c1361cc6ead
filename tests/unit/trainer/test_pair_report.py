"""Pair report: every number of it worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tests.unit.trainer.token_pairs import token_pair
from trainer.pair_report import (
    agreement,
    calibration,
    length_slope,
    margin_histogram,
    pair_report,
)


def test_the_report_of_known_scores() -> None:
    pairs = [token_pair(4, 2), token_pair(1, 3), token_pair(5, 5), token_pair(2, 1)]
    scores = torch.tensor([1.0, 0.0, 2.0, 1.0, -1.0, 1.0, 2.0, 0.0])

    report = pair_report(pairs, scores)

    # Ahead: 2, -1, 0, 1: two right, one wrong, one equal.
    assert report.accuracy == pytest.approx(2.5 / 4)
    assert report.margin == pytest.approx(0.5)
    # ln(1 + e^-2) + ln(1 + e^1) + ln 2 + ln(1 + e^-1) over 4
    assert report.loss == pytest.approx((0.126928 + 1.313262 + math.log(2) + 0.313262) / 4, abs=1e-5)
    # Longer by 2, -2, 0, 1: 2 x 2 + -1 x -2 + 1 x 1 = 7 over 4 + 4 + 1 squares, times 100.
    assert report.length_slope == pytest.approx(700 / 9)
    # Wilson for 2.5 of 4: (0.625 + 0.4802) / 1.9604 +- 1.96 / 1.9604 x sqrt(0.0586 + 0.06003)
    assert (report.accuracy_low, report.accuracy_high) == pytest.approx((0.2194, 0.9081), abs=1e-3)
    # Longer is preferred in the first and the last, the third is equal.
    assert report.longer_preferred_share == pytest.approx(2.5 / 4)
    # Lengths 4 1 5 2 | 2 3 5 1, mean 2.875, deviation 1.53602; scores mean 0.75, deviation 0.96825;
    # covariance 27 / 8 - 2.875 x 0.75 = 1.21875.
    assert report.length_correlation == pytest.approx(1.21875 / (1.53602 * 0.96825), abs=1e-3)


def test_scores_that_do_not_vary_have_no_length_correlation() -> None:
    assert pair_report([token_pair()], torch.tensor([1.0, 1.0])).length_correlation is None


def test_accuracy_of_each_tag_and_of_each_length_bucket() -> None:
    pairs = [
        token_pair(100, 10, tags=("helpful", "en")),
        token_pair(10, 10, tags=("helpful",)),
        token_pair(10, 19, tags=("harmless",)),
        token_pair(18, 10),
    ]

    report = pair_report(pairs, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]))

    # Right, wrong, right, equal.
    shares = {tag: (share.share, share.n) for tag, share in report.by_tag.items()}
    assert shares == {"en": (1, 1), "harmless": (1, 1), "helpful": (0.5, 2), "untagged": (0.5, 1)}
    # Longer by 90, 0, -9 and 8 tokens; the upper edge belongs to its bucket.
    buckets = {name: (share.share, share.n) for name, share in report.by_length.items()}
    assert buckets == {"-64 to -8": (1, 1), "-8 to 8": (0.25, 2), "64 to inf": (1, 1)}


def test_calibration_by_hand() -> None:
    # sigmoid(|d|) is 0.55 twice (one right, one wrong), 0.95 three times (two right), and 1/2 (a tie).
    small, large = math.log(0.55 / 0.45), math.log(0.95 / 0.05)

    result = calibration(torch.tensor([small, -small, large, large, -large, 0.0]))

    low, high = result.bins
    assert (low.n, high.n) == (3, 3)
    assert (low.confidence, low.accuracy) == pytest.approx(((0.55 + 0.55 + 0.5) / 3, 0.5))
    assert (high.confidence, high.accuracy) == pytest.approx((0.95, 2 / 3))
    assert result.ece == pytest.approx((3 * (1.6 / 3 - 0.5) + 3 * (0.95 - 2 / 3)) / 6)


def test_a_model_that_is_sure_and_right_is_calibrated() -> None:
    assert calibration(torch.tensor([40.0, 50.0])).ece == pytest.approx(0.0)


def test_the_margin_histogram_is_symmetric_and_loses_nothing() -> None:
    histogram = margin_histogram(torch.tensor([-4.0, 0.1, 1.0, 4.0]))

    assert len(histogram.counts) == len(histogram.edges) - 1 == 20
    assert (histogram.edges[0], histogram.edges[10], histogram.edges[-1]) == pytest.approx((-4.0, 0.0, 4.0))
    # Bins are 0.4 wide: 0.1 is in [0, 0.4), 1.0 in [0.8, 1.2), 4.0 in the last.
    assert [index for index, count in enumerate(histogram.counts) if count] == [0, 10, 12, 19]
    assert margin_histogram(torch.zeros(3)).counts[10] == 3


def test_pairs_of_equal_lengths_have_no_length_slope() -> None:
    assert length_slope(torch.tensor([1.0, 2.0]), torch.zeros(2)) is None


def test_agreement_counts_pairs_ranked_the_same_way() -> None:
    # Same, same, opposite, and one has a tie: 2.5 of 4.
    share = agreement(torch.tensor([1.0, -3.0, 1.0, 0.0]), torch.tensor([9.0, -1.0, -1.0, 1.0]))

    assert (share.share, share.n) == (2.5 / 4, 4)
