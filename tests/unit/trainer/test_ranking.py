"""Ranking: the loss by hand, the share of the seed pairs, and the report of a known set of scores."""

from __future__ import annotations

import math

import pytest
import torch

from tests.unit.trainer.token_pairs import token_pair
from trainer.packing import examples, pack
from trainer.pairs import TokenPair
from trainer.ranking import balanced_thumbs, balanced_weights, lm_loss, ranking_loss


def loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    preference: float = 1.0,
    margin: float = 0.0,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """The ranking loss with one preference and margin for all pairs."""
    return ranking_loss(
        chosen,
        rejected,
        preference=torch.full_like(chosen, preference),
        margin=torch.full_like(chosen, margin),
        label_smoothing=smoothing,
    )


def test_the_ranking_loss_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])

    plain = loss(chosen, rejected)
    with_margin = loss(chosen, rejected, margin=0.5)
    smoothed = loss(chosen, rejected, smoothing=0.1)
    unsure = loss(chosen, rejected, preference=0.8, margin=0.5)

    # ln(1 + e^-1) = 0.31326 and ln(1 + e^1) = 1.31326
    torch.testing.assert_close(plain, torch.tensor([0.31326, 1.31326]), atol=1e-5, rtol=0)
    # ln(1 + e^-0.5) = 0.47408 and ln(1 + e^1.5) = 1.70141
    torch.testing.assert_close(with_margin, torch.tensor([0.47408, 1.70141]), atol=1e-5, rtol=0)
    # 0.9 x 0.31326 + 0.1 x 1.31326 = 0.41326; the other way round 1.21326
    torch.testing.assert_close(smoothed, torch.tensor([0.41326, 1.21326]), atol=1e-5, rtol=0)
    # The margin counts 2 x 0.8 - 1 = 0.6 times, so d is 0.7: 0.8 ln(1 + e^-0.7) + 0.2 ln(1 + e^0.7)
    # = 0.8 x 0.40319 + 0.2 x 1.10319; the other way round d is -1.3: 0.8 x 1.54101 + 0.2 x 0.24101.
    torch.testing.assert_close(unsure, torch.tensor([0.54319, 1.28101]), atol=1e-5, rtol=0)


def test_a_tie_is_learned_best_by_equal_scores_whatever_the_margin() -> None:
    ahead = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)

    losses = loss(ahead, torch.zeros(3), preference=0.5, margin=2.0, smoothing=0.2)
    losses.sum().backward()

    # ln 2 at 0, (0.31326 + 1.31326) / 2 at both sides; the gradient is sigmoid(d) - 1/2.
    torch.testing.assert_close(losses.detach(), torch.tensor([0.81326, 0.69315, 0.81326]), atol=1e-5, rtol=0)
    assert ahead.grad is not None
    torch.testing.assert_close(ahead.grad, torch.tensor([-0.23106, 0.0, 0.23106]), atol=1e-5, rtol=0)


def test_the_ranking_loss_is_finite_for_a_pair_that_is_very_wrong() -> None:
    chosen = torch.tensor([-500.0], requires_grad=True)

    value = loss(chosen, torch.tensor([500.0]))
    value.sum().backward()

    assert value.item() == 1000.0
    assert chosen.grad is not None
    assert chosen.grad.item() == -1.0


def test_seed_pairs_get_their_share_of_the_weight() -> None:
    pairs = [token_pair(), token_pair(weight=3.0), *[token_pair(source="seed")] * 6]

    weights = balanced_weights(pairs, seed_share=0.25)

    # 8 pairs: the votes get 6 in the ratio 1 to 3, the seed pairs 2 in equal parts.
    torch.testing.assert_close(weights, torch.tensor([1.5, 4.5] + [2 / 6] * 6))


def thumb(*, up: bool) -> TokenPair:
    ids = [1, 2, 3]
    return TokenPair(ids if up else [], [] if up else ids, 2, weight=1.0, source="thumb", new=True)


def test_thumbs_up_and_down_get_half_of_the_weight_each() -> None:
    weights = [one.weight for one in balanced_thumbs([thumb(up=True)] * 3 + [thumb(up=False)], 0.1)]

    # 4 thumbs weigh 0.4: the three ups 0.2 in equal parts, the one down 0.2.
    assert weights == pytest.approx([0.2 / 3] * 3 + [0.2])


def test_thumbs_of_one_kind_or_without_weight_teach_nothing() -> None:
    assert balanced_thumbs([thumb(up=True)] * 3, 0.1) == []
    assert balanced_thumbs([thumb(up=False)] * 3, 0.1) == []
    assert balanced_thumbs([thumb(up=True), thumb(up=False)], 0.0) == []
    assert balanced_thumbs([], 0.1) == []


@pytest.mark.parametrize("source", ["vote", "seed"])
def test_one_kind_of_pairs_alone_keeps_its_weights(source: str) -> None:
    weights = balanced_weights([token_pair(source=source), token_pair(source=source, weight=3.0)], 0.25)

    torch.testing.assert_close(weights, torch.tensor([0.5, 1.5]))


def test_the_language_model_loss_counts_the_preferred_answer_only() -> None:
    pair = TokenPair([0, 0, 1, 2], [0, 0, 3], prompt_length=2, weight=1.0, source="vote", new=True)
    packed = pack(examples([pair]), pad_token_id=0)
    hidden = torch.zeros(1, 5, 4, requires_grad=True)

    value = lm_loss(hidden, packed, torch.eye(4))
    value.backward()

    # All logits are 0: each of 4 tokens has a quarter.
    assert value.item() == pytest.approx(math.log(4), abs=1e-2)
    assert hidden.grad is not None
    # The row is 0 0 | 1 2 | 3: 1 and 2 are predicted from places 1 and 2; nothing else counts.
    assert hidden.grad.abs().sum(dim=-1).gt(0).tolist() == [[False, True, True, False, False]]


def test_a_thumb_down_has_nothing_to_imitate() -> None:
    thumb = TokenPair([], [0, 0, 3], prompt_length=2, weight=1.0, source="thumb", new=True)

    assert lm_loss(torch.zeros(1, 3, 4), pack(examples([thumb]), pad_token_id=0), torch.eye(4)).item() == 0.0
