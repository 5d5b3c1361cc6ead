"""Rollouts by real vLLM: new weights given in memory are the weights that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.config import RolloutConfig
from trainer.models import load_policy
from trainer.ranks import ALONE, Ranks
from trainer.samplers import TransformersSampler, make_sampler

pytestmark = pytest.mark.timeout(180)


class OneOfTwo(Ranks):
    """A rank whose neighbour has nothing to say: its engine runs beside it, as among several processes."""

    def joined(self, mine: list[Any]) -> list[Any]:
        return mine


@pytest.mark.parametrize("ranks", [OneOfTwo(0, 2), ALONE], ids=["beside", "in this process"])
def test_weights_given_between_two_draws_are_the_ones_that_answer(tiny_policy: Path, ranks: Ranks) -> None:
    config = RolloutConfig(max_new_tokens=12, max_prompt_tokens=64)
    vllm, plain = make_sampler(tiny_policy, config, ranks), TransformersSampler(tiny_policy, config)
    prompts = [[72, 101, 108], [87, 111], [33, 34, 35, 36]]
    policy = load_policy(tiny_policy)
    before = [one.response_ids for one in vllm.sample(prompts, seed=0, greedy=True)]
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5 * parameter.std(correction=0))
            parameter.copy_(parameter.to(torch.bfloat16))
    vllm.update(policy.state_dict().items())
    plain.update(policy.state_dict().items())
    after = vllm.sample(prompts, seed=0, greedy=True)
    assert [one.response_ids for one in after] != before
    wanted = plain.sample(prompts, seed=0, greedy=True)
    same = [one.response_ids == two.response_ids for one, two in zip(after, wanted, strict=True)]
    assert sum(same) >= 2, "bf16 may turn one near-tie, stale weights match none"

    drawn = [vllm.sample(prompts, seed=5) for _ in range(2)]
    assert [one.response_ids for one in drawn[0]] == [one.response_ids for one in drawn[1]]
    if ranks.size > 1:  # the same seed on the next rank
        others = vllm.sample(prompts, seed=5, first=3)
        assert [one.response_ids for one in others] != [one.response_ids for one in drawn[0]]
    assert all(len(one.response_ids) == len(one.engine_logprobs) for one in drawn[0])
