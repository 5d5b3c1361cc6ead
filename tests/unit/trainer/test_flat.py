"""Flat passes: the numbers and gradients of rows of their own, and who reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM, PreTrainedModel

from trainer import attention
from trainer.experience import Part, part_of_answers, read_critic, read_policy, tokens_read
from trainer.flat import common_opening, flat_batch, reads_flat
from trainer.models import load_critic, load_policy, load_reward_model
from trainer.rollout import Rollout

OPENING = [5, 6, 7, 8]
ANSWERS = [
    Rollout([*OPENING, 9, 10], [11, 12, 13], [0.0] * 3, True),
    Rollout([*OPENING, 14], [15], [0.0], True),
    Rollout([*OPENING, 9, 16, 17, 18], [19, 20, 21, 22, 23], [0.0] * 5, False),
]
APART = [Rollout([number, *one.prompt_ids], *one[1:]) for number, one in enumerate(ANSWERS, start=30)]
CPU = torch.device("cpu")


def both(answers: list[Rollout]) -> tuple[Part, Part]:
    rows = range(len(answers))
    padded, flat = (part_of_answers(answers, rows, 5, CPU, flat=flat) for flat in (False, True))
    return padded, flat


def test_an_opening_leaves_each_prompt_its_last_token() -> None:
    assert common_opening([[1, 2, 3, 4], [1, 2, 3, 5]]) == 3
    assert common_opening([[1, 2, 3], [1, 2, 3]]) == 2
    assert common_opening([[1, 2], [1, 2, 3]]) == 1
    assert common_opening([[1, 2], [3, 2]]) == common_opening([[1, 2]]) == 0


def test_each_token_of_the_opening_stands_once_and_nothing_is_padded() -> None:
    batch, starts = flat_batch([[1, 2, 3], [1, 2, 4, 5]], 2)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert batch.attention_mask.tolist() == [[[[2, 1], [3, 2]]]]
    assert starts.tolist() == [2, 3]


def test_what_all_begin_with_is_read_once() -> None:
    assert tokens_read(ANSWERS, flat=True) == [5, 2, 9]
    assert tokens_read(ANSWERS, flat=False) == [9, 6, 13]


@pytest.mark.parametrize("longest", [1024, 4], ids=["products", "kernel"])
@pytest.mark.parametrize("answers", [ANSWERS, APART, ANSWERS[:1]], ids=["alike", "apart", "one"])
def test_numbers_and_gradients_are_those_of_rows_of_their_own(
    answers: list[Rollout], longest: int, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST", longest)
    policy = load_policy(tiny_policy)

    def found(part: Part) -> list[Tensor]:
        logprobs, entropy = read_policy(policy, part, 0.7, "fp32", entropy_gradient=True)
        loss = (logprobs * torch.linspace(-1, 1, 5)).sum() + entropy.square().sum()
        return [logprobs, entropy, *torch.autograd.grad(loss, list(policy.parameters()))]

    padded, flat = both(answers)
    for one, other in zip(found(flat), found(padded), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_values_last_states_and_scores_are_those_of_rows_of_their_own(reward_folder: Path) -> None:
    critic, judge = load_critic(reward_folder), load_reward_model(reward_folder)
    padded, flat = both(ANSWERS)
    with torch.no_grad():
        for one, other in zip(
            read_critic(critic, flat, "fp32"), read_critic(critic, padded, "fp32"), strict=True
        ):
            torch.testing.assert_close(one, other)
        scores = [judge.scores(**part.batch.inputs()) for part in (flat, padded)]
        torch.testing.assert_close(*scores)


def windowed(window: int | None) -> PreTrainedModel:
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window,
    )  # fmt: skip
    model: PreTrainedModel = MistralForCausalLM(config)
    model.train(False)
    attention.use_products(model)
    return model


def test_it_is_measured_who_reads_flat_passes(
    tiny_policy: Path, reward_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(tiny_policy)
    assert reads_flat(policy)
    assert reads_flat(load_critic(reward_folder))
    assert reads_flat(windowed(None))
    assert not reads_flat(windowed(64))
    # An attention of the model's own takes the spans for a mask, or refuses them.
    for other in ("eager", "sdpa"):
        policy.set_attn_implementation(other)
        assert not reads_flat(policy)


def test_a_layer_that_lets_one_answer_see_another_is_found(tiny_policy: Path) -> None:
    policy = load_policy(tiny_policy)
    layer = policy.get_submodule("model.layers.1.mlp")
    layer.register_forward_hook(lambda _, __, out: out + 0.2 * out.roll(1, dims=1))  # as a convolution does
    assert not reads_flat(policy)
