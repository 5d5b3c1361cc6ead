"""Rollouts: answers drawn from the policy as it is now, as token ids with the engine's log-probabilities."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.config import RolloutConfig
from trainer.data import load_tokenizer, pad_right
from trainer.errors import ModelError
from trainer.lora import merged_weights
from trainer.tensors import logprobs_and_entropy

GPU_SHARE = 0.3
"""Of a GPU's memory, for a vLLM engine beside the training."""


class Rollout(NamedTuple):
    """One answer: the ids as the engine drew them, never text that was tokenised again."""

    prompt_ids: list[int]
    response_ids: list[int]
    """With the end token when it ended by itself."""
    engine_logprobs: list[float]
    """At the rollouts' temperature, one per response token."""
    ended: bool


class Sampler(Protocol):
    """Draws answers, and takes new weights between two draws."""

    def update(self, policy: PreTrainedModel) -> None: ...

    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]: ...


def make_sampler(policy: Path, config: RolloutConfig) -> Sampler:
    """vLLM where it is installed (or asked for), else transformers. The folder's weights are loaded."""
    vllm = chosen_engine(config) == "vllm"
    return VllmSampler(policy, config) if vllm else TransformersSampler(policy, config)


def chosen_engine(config: RolloutConfig) -> Literal["vllm", "transformers"]:
    """What `auto` means on this machine."""
    if config.engine == "auto":
        return "vllm" if importlib.util.find_spec("vllm") else "transformers"
    return config.engine


def cpu_cache_gib() -> int:
    """KV cache of a vLLM engine on the CPU."""
    return int(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))


class VllmSampler:
    """vLLM in this process: weights go over in memory, nothing is restarted or read from disk again."""

    def __init__(self, policy: Path, config: RolloutConfig) -> None:
        os.environ |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
        }
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(cpu_cache_gib())
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        from vllm import LLM

        self._config = config
        self._llm = LLM(
            str(policy),
            dtype="bfloat16",
            # Compiled kernels answer other tokens than eager ones on CPU, and take minutes to build.
            enforce_eager=not torch.cuda.is_available(),
            max_model_len=config.max_prompt_tokens + config.max_new_tokens,
            gpu_memory_utilization=GPU_SHARE,
            # After temperature: what the answer was really drawn with.
            logprobs_mode="processed_logprobs",
            seed=0,
        )

    def update(self, policy: PreTrainedModel) -> None:
        """Give the engine the policy's weights and drop every cached prefix of the old ones."""
        head = policy.get_output_embeddings()
        assert head is not None
        state: dict[str, torch.Tensor] = {**dict(merged_weights(policy)), "lm_head.weight": head.weight}
        weights = ((name, tensor.detach().to(torch.bfloat16)) for name, tensor in state.items())
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._llm.reset_prefix_cache()

    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]:
        """One answer to each prompt. The same seed draws the same answers."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            max_tokens=max_new_tokens or self._config.max_new_tokens,
            temperature=0.0 if greedy else self._config.temperature,
            logprobs=0,
            detokenize=False,
        )
        # The engine draws from torch's generator, which is ours too. A seed per request would end vLLM 0.32
        # on CPU ("CPU Generator does not use offset") as soon as a prompt is prefilled in two chunks.
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            outputs = self._llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts], parameters, use_tqdm=False
            )
        return [_from_vllm(prompt, out.outputs[0]) for prompt, out in zip(prompts, outputs, strict=True)]


def _from_vllm(prompt: list[int], output: Any) -> Rollout:
    ids = [int(token) for token in output.token_ids]
    logprobs = [float(row[token].logprob) for token, row in zip(ids, output.logprobs, strict=True)]
    return Rollout(prompt, ids, logprobs, output.finish_reason == "stop")


class TransformersSampler:
    """Plain sampling with transformers: for platforms without vLLM and tests that must repeat exactly."""

    def __init__(self, policy: Path, config: RolloutConfig) -> None:
        from trainer.models import load_policy

        self._config = config
        self._tokenizer: PreTrainedTokenizerBase = load_tokenizer(policy)
        self._policy = load_policy(policy)

    def update(self, policy: PreTrainedModel) -> None:
        self._policy.load_state_dict(dict(merged_weights(policy)))

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]:
        """One answer to each prompt, one at a time: no padding, so nothing depends on the neighbours."""
        eos = self._tokenizer.eos_token_id
        assert isinstance(eos, int)
        limit = max_new_tokens or self._config.max_new_tokens
        return [
            self._one(prompt, torch.Generator().manual_seed(seed * 100_003 + index), eos, limit, greedy)
            for index, prompt in enumerate(prompts)
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


def check_rollouts(rollouts: Sequence[Rollout]) -> None:
    """Raises ModelError when the engine drew nothing that can be learned from."""
    for rollout in rollouts:
        if not rollout.response_ids:
            raise ModelError("the engine drew an empty answer; the policy's weights are damaged.")
