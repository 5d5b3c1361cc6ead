"""Who draws rollouts: vLLM where it is installed, else transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from trainer.config import RolloutConfig
from trainer.data import load_tokenizer, pad_right
from trainer.ranks import ALONE, Ranks
from trainer.rollout import Rollout, Sampler, Weights
from trainer.tensors import logprobs_and_entropy


def make_sampler(policy: Path, config: RolloutConfig, ranks: Ranks = ALONE) -> Sampler:
    """vLLM where it is installed (or asked for), else transformers. The folder's weights are loaded."""
    if chosen_engine(config) == "transformers":
        return TransformersSampler(policy, config)
    from trainer.vllm_sampler import VllmSampler

    return VllmSampler(policy, config, ranks)


def chosen_engine(config: RolloutConfig) -> Literal["vllm", "transformers"]:
    """What `auto` means on this machine."""
    if config.engine == "auto":
        return "vllm" if importlib.util.find_spec("vllm") else "transformers"
    return config.engine


class TransformersSampler:
    """Plain sampling with transformers: for platforms without vLLM and tests that must repeat exactly."""

    def __init__(self, policy: Path, config: RolloutConfig) -> None:
        from trainer.models import load_policy

        self._config = config
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(policy)
        self._policy = load_policy(policy)

    def update(self, weights: Weights) -> None:
        """The policy's weights from here on."""
        with torch.no_grad():
            mine = self._policy.state_dict()
            for name, tensor in weights:
                mine[name].copy_(tensor)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        first: int = 0,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]:
        """One answer to each prompt, one at a time: no padding, so nothing depends on the neighbours.

        The prompts are those from number `first` on of a longer list that several processes divide.
        """
        eos = self._tokenizer.eos_token_id
        assert isinstance(eos, int)
        limit = max_new_tokens or self._config.max_new_tokens
        return [
            self._one(prompt, torch.Generator().manual_seed(seed * 100_003 + index), eos, limit, greedy)
            for index, prompt in enumerate(prompts, start=first)
        ]

    def _one(self, prompt: list[int], chance: torch.Generator, eos: int, limit: int, greedy: bool) -> Rollout:
        head = self._policy.get_output_embeddings()
        backbone = getattr(self._policy, self._policy.base_model_prefix)
        ids: list[int] = []
        logprobs: list[float] = []
        cache, inputs = None, pad_right([prompt], 0).input_ids
        while len(ids) < limit:
            out = backbone(input_ids=inputs, past_key_values=cache, use_cache=True)
            cache, hidden = out.past_key_values, out.last_hidden_state[:, -1]
            scaled = head(hidden).float() / self._config.temperature
            if greedy:
                token = int(scaled.argmax())
            else:
                token = int(torch.multinomial(torch.softmax(scaled[0], -1), 1, generator=chance))
            logprob, _ = logprobs_and_entropy(hidden, head, torch.tensor([token]), self._config.temperature)
            ids.append(token)
            logprobs.append(float(logprob))
            if token == eos:
                return Rollout(prompt, ids, logprobs, True)
            inputs = torch.tensor([[token]])
        return Rollout(prompt, ids, logprobs, False)
