"""Ranking: the loss by hand, the share of the seed pairs, and the report of a known set of scores."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.data import TokenPair
from trainer.ranking import balanced_weights, lm_loss, pair_report, ranking_loss


def token_pair(
    chosen: int = 2, rejected: int = 1, prompt: int = 3, weight: float = 1.0, source: str = "vote"
) -> TokenPair:
    """A pair whose answers have the given numbers of tokens."""
    return TokenPair([1] * (prompt + chosen), [1] * (prompt + rejected), prompt, weight, source, new=True)


def test_the_ranking_loss_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])

    plain = ranking_loss(chosen, rejected, margin=0.0, label_smoothing=0.0)
    with_margin = ranking_loss(chosen, rejected, margin=0.5, label_smoothing=0.0)
    smoothed = ranking_loss(chosen, rejected, margin=0.0, label_smoothing=0.1)

    # ln(1 + e^-1) = 0.31326 and ln(1 + e^1) = 1.31326
    torch.testing.assert_close(plain, torch.tensor([0.31326, 1.31326]), atol=1e-5, rtol=0)
    # ln(1 + e^-0.5) = 0.47408 and ln(1 + e^1.5) = 1.70141
    torch.testing.assert_close(with_margin, torch.tensor([0.47408, 1.70141]), atol=1e-5, rtol=0)
    # 0.9 x 0.31326 + 0.1 x 1.31326 = 0.41326; the other way round 1.21326
    torch.testing.assert_close(smoothed, torch.tensor([0.41326, 1.21326]), atol=1e-5, rtol=0)


def test_the_ranking_loss_is_finite_for_a_pair_that_is_very_wrong() -> None:
    chosen = torch.tensor([-500.0], requires_grad=True)

    loss = ranking_loss(chosen, torch.tensor([500.0]), margin=0.0, label_smoothing=0.0)
    loss.sum().backward()

    assert loss.item() == 1000.0
    assert chosen.grad is not None
    assert chosen.grad.item() == -1.0


def test_seed_pairs_get_their_share_of_the_weight() -> None:
    pairs = [token_pair(), token_pair(weight=3.0), *[token_pair(source="seed")] * 6]

    weights = balanced_weights(pairs, seed_share=0.25)

    # 8 pairs: the votes get 6 in the ratio 1 to 3, the seed pairs 2 in equal parts.
    torch.testing.assert_close(weights, torch.tensor([1.5, 4.5] + [2 / 6] * 6))


@pytest.mark.parametrize("source", ["vote", "seed"])
def test_one_kind_of_pairs_alone_keeps_its_weights(source: str) -> None:
    weights = balanced_weights([token_pair(source=source), token_pair(source=source, weight=3.0)], 0.25)

    torch.testing.assert_close(weights, torch.tensor([0.5, 1.5]))


def test_the_report_of_known_scores() -> None:
    pairs = [token_pair(4, 2), token_pair(1, 3), token_pair(5, 5), token_pair(2, 1)]
    scores = torch.tensor([1.0, 0.0, 2.0, 1.0, -1.0, 1.0, 2.0, 0.0])

    report = pair_report(pairs, scores)

    # Ahead: 2, -1, 0, 1: two right, one wrong, one equal.
    assert report.accuracy == pytest.approx(2.5 / 4)
    assert report.margin == pytest.approx(0.5)
    # ln(1 + e^-2) + ln(1 + e^1) + ln 2 + ln(1 + e^-1) over 4
    assert report.loss == pytest.approx((0.126928 + 1.313262 + math.log(2) + 0.313262) / 4, abs=1e-5)
    # Longer is preferred in the first and the last, the third is equal.
    assert report.longer_preferred_share == pytest.approx(2.5 / 4)
    # Lengths 4 1 5 2 | 2 3 5 1, mean 2.875, deviation 1.53602; scores mean 0.75, deviation 0.96825;
    # covariance 27 / 8 - 2.875 x 0.75 = 1.21875.
    assert report.length_correlation == pytest.approx(1.21875 / (1.53602 * 0.96825), abs=1e-3)


def test_scores_that_do_not_vary_have_no_length_correlation() -> None:
    assert pair_report([token_pair()], torch.tensor([1.0, 1.0])).length_correlation is None


def test_the_language_model_loss_counts_the_preferred_answer_only() -> None:
    pair = TokenPair([0, 0, 1, 2], [0, 0, 3], prompt_length=2, weight=1.0, source="vote", new=True)
    hidden = torch.zeros(2, 4, 4, requires_grad=True)

    loss = lm_loss(hidden, [pair], torch.eye(4))
    loss.backward()

    # All logits are 0: each of 4 tokens has a quarter.
    assert loss.item() == pytest.approx(math.log(4), abs=1e-2)
    assert hidden.grad is not None
    # Tokens 1 and 2 are predicted from places 1 and 2 of the preferred row; nothing else counts.
    assert hidden.grad.abs().sum(dim=-1).gt(0).tolist() == [[False, True, True, False], [False] * 4]
