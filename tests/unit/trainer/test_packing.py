"""Packing: answers that share a row get the scores and gradients that they have in rows of their own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from trainer.lesson import shares_prompts
from trainer.models import RewardModel, reward_model_from_policy
from trainer.packing import THRESHOLD, Example, Packed, examples, pack
from trainer.pairs import TokenPair

PAD = 256


@pytest.fixture(scope="module")
def model(tiny_policy: Path) -> RewardModel:
    return reward_model_from_policy(tiny_policy, seed=1, pad_token_id=PAD)


def ranked(prompt: list[int], better: list[int], worse: list[int], ranking: str | None = "r") -> TokenPair:
    return TokenPair(prompt + better, prompt + worse, len(prompt), 1.0, "import", True, ranking_id=ranking)


def scores(model: RewardModel, packed: Packed) -> torch.Tensor:
    hidden = model.hidden(**packed.inputs())
    rows, ends = ([place.row for place in packed.places], [place.end - 1 for place in packed.places])
    return model.value(hidden[rows, ends])


def test_a_ranking_names_each_answer_once() -> None:
    prompt, (a, b, c) = [1, 2], ([3], [4, 5], [6])
    thumb = TokenPair([], [9, 8], 1, 1.0, "thumb", True)

    found = examples([ranked(prompt, a, b), thumb, ranked(prompt, a, c), ranked(prompt, b, c)])

    assert [one.answers for one in found] == [[[3], [4, 5], [6]], [[8]]]
    assert (found[0].chosen, found[0].rejected) == ([0, 0, 1], [1, 2, 2])
    assert (found[1].chosen, found[1].rejected) == ([THRESHOLD], [0])
    assert (found[0].tokens(True), found[0].tokens(False)) == (6, 10)


def test_two_pairs_without_a_ranking_stay_apart() -> None:
    pair = ranked([1], [2], [3], ranking=None)

    assert len(examples([pair, pair])) == 2


def test_the_layout_by_hand() -> None:
    example = examples([ranked([1, 2], [3], [4, 5])])[0]
    short = examples([ranked([1], [2], [3])])[0]

    packed = pack([example, short], PAD)

    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, PAD, PAD]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3], [0, 1, 1, 0, 0]]
    assert packed.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]
    assert [tuple(place) for place in packed.places] == [
        (0, 2, 3, 2),
        (0, 3, 5, 2),
        (1, 1, 2, 1),
        (1, 2, 3, 1),
    ]
    assert (packed.chosen.tolist(), packed.rejected.tolist()) == ([0, 2], [1, 3])
    assert bool(packed.attention_mask.any(dim=-1).all()), "a row of the mask that sees nothing gives NaN"


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_rows_of_their_own(model: RewardModel, seed: int) -> None:
    chance = random.Random(seed)

    def some_tokens() -> list[int]:
        return chance.choices(range(256), k=chance.randint(1, 12))

    def some_answers() -> list[list[int]]:
        return [some_tokens() for _ in range(chance.randint(1, 4))]

    batch = [Example(some_tokens(), some_answers(), [], [], []) for _ in range(chance.randint(1, 3))]
    with torch.no_grad():
        shared, alone = (scores(model, pack(batch, PAD, share_prompts=share)) for share in (True, False))

    torch.testing.assert_close(shared, alone, atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_rows_of_their_own(model: RewardModel) -> None:
    batch = examples([ranked([7, 8, 9], [1, 2], [3, 4, 5, 6]), ranked([5], [1], [2, 2], ranking="other")])
    gradients = []
    for share in (True, False):
        found = scores(model, pack(batch, PAD, share_prompts=share))
        weight = model.backbone.get_parameter("embed_tokens.weight")
        gradients.append(torch.autograd.grad((found * torch.arange(1.0, 5.0)).sum(), weight)[0])

    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def test_a_model_that_would_look_at_the_neighbour_shares_nothing(model: RewardModel) -> None:
    example = examples([ranked([7, 8, 9], [1, 2], [3, 4, 5, 6])])[0]

    class Deaf(RewardModel):
        """A model that knows no mask but the causal one, as a recurrent layer would."""

        def hidden(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor
        ) -> torch.Tensor:
            return super().hidden(input_ids, torch.ones_like(input_ids), position_ids)

    assert shares_prompts(model, example, PAD)
    assert not shares_prompts(Deaf(model.classifier), example, PAD)
