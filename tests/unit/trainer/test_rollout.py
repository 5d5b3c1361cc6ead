"""Rollouts by transformers: repeatable, with true log-probabilities, ended by the end token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.config import RolloutConfig
from trainer.data import load_tokenizer
from trainer.errors import ModelError
from trainer.models import load_policy
from trainer.rollout import Rollout, check_rollouts
from trainer.samplers import TransformersSampler

PROMPTS = [[72, 101, 108], [87, 111, 33, 34]]


def sampler(tiny_policy: Path, temperature: float = 1.0) -> TransformersSampler:
    return TransformersSampler(tiny_policy, RolloutConfig(max_new_tokens=10, temperature=temperature))


def test_the_same_seed_draws_the_same_answers_and_another_seed_others(tiny_policy: Path) -> None:
    draw = sampler(tiny_policy).sample
    first = [one.response_ids for one in draw(PROMPTS, seed=1)]
    assert [one.response_ids for one in draw(PROMPTS, seed=1)] == first
    assert [one.response_ids for one in draw(PROMPTS, seed=2)] != first


def test_a_prompt_draws_the_same_whoever_stands_after_it(tiny_policy: Path) -> None:
    draw = sampler(tiny_policy).sample
    assert draw(PROMPTS[:1], seed=1)[0] == draw(PROMPTS, seed=1)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_one_pass_over_the_whole_text(
    tiny_policy: Path, temperature: float
) -> None:
    drawn = sampler(tiny_policy, temperature).sample(PROMPTS, seed=3)
    policy = load_policy(tiny_policy)
    for one in drawn:
        ids = torch.tensor([one.prompt_ids + one.response_ids])
        with torch.no_grad():
            logits = policy(input_ids=ids).logits[0, :-1].float() / temperature
        wanted = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[len(one.prompt_ids) - 1 :, 0]
        assert one.engine_logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


def test_an_answer_ends_with_the_end_token_or_is_called_cut(tiny_policy: Path) -> None:
    draw = sampler(tiny_policy)
    eos = load_tokenizer(tiny_policy).eos_token_id
    head = draw._policy.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    cut = draw.sample(PROMPTS, seed=0, greedy=True)
    assert all(len(one.response_ids) == 10 and not one.ended for one in cut)

    # Now every hidden state is all ones, and only the end token's row of the head is not 0.
    draw._policy.get_submodule("model.norm").register_forward_hook(lambda *call: torch.ones_like(call[2]))
    rows = torch.zeros_like(head.weight)
    rows[eos] = 1.0
    head.weight = torch.nn.Parameter(rows)
    ended = draw.sample(PROMPTS, seed=0, greedy=True)
    assert [(one.response_ids, one.ended) for one in ended] == [([eos], True)] * 2


def test_weights_given_between_two_draws_are_the_ones_that_answer(tiny_policy: Path) -> None:
    draw, policy = sampler(tiny_policy), load_policy(tiny_policy)
    before = [one.response_ids for one in draw.sample(PROMPTS, seed=0, greedy=True)]
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    draw.update(policy.state_dict().items())
    after = draw.sample(PROMPTS, seed=0, greedy=True)
    assert [one.response_ids for one in after] != before
    for one in after:
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([one.prompt_ids])).logits[0, -1]
        assert one.response_ids[0] == int(logits.argmax())


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(ModelError, match="empty answer"):
        check_rollouts([Rollout([1], [], [], False)])
