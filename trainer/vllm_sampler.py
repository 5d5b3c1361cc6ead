"""Rollouts by vLLM: in this process, or beside each of several, which hand the weights over in memory."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from trainer.config import RolloutConfig
from trainer.ranks import ALONE, Ranks
from trainer.rollout import Rollout, Weights

LAUNCHED = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "LOCAL_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
"""What a launcher sets, and vLLM would take for its own."""
MEMORY = Path("/dev/shm")
GPU_SHARE = 0.3
"""Of a GPU's memory, for an engine beside the training."""


def cpu_cache_gib() -> int:
    """KV cache of an engine on the CPU."""
    return int(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"))


class VllmSampler:
    """One engine for each rank; nothing is restarted.

    Alone, it lives in this process and weights are passed on as they are. Among several ranks this process is
    in a torch.distributed group of theirs, and vLLM wants one of its own, so it runs as a child: the weights
    go over as a file in memory, one for all ranks of a machine.
    """

    def __init__(self, policy: Path, config: RolloutConfig, ranks: Ranks = ALONE) -> None:
        self._config = config
        self._ranks = ranks
        os.environ |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if ranks.size == 1 else "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
        }
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(cpu_cache_gib())
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        from vllm import LLM

        with _as_if_alone() if ranks.size > 1 else nullcontext():
            self._llm = LLM(
                str(policy),
                dtype="bfloat16",
                # Compiled kernels answer other tokens than eager ones on CPU, and take minutes to build.
                enforce_eager=not torch.cuda.is_available(),
                # As the engines that serve: another size rounds attention in another order.
                block_size=None if torch.cuda.is_available() else 32,
                max_model_len=config.max_prompt_tokens + config.max_new_tokens,
                gpu_memory_utilization=GPU_SHARE,
                # After temperature: what the answer was really drawn with.
                logprobs_mode="processed_logprobs",
                seed=0,
                # A prompt in two chunks ends vLLM 0.32 on CPU where requests have seeds of their own.
                **({"enable_chunked_prefill": False} if ranks.size > 1 else {}),
            )

    def update(self, weights: Weights) -> None:
        """Give the engine the policy's weights and drop every cached prefix of the old ones."""
        in_bf16 = ((name, tensor.detach().to(torch.bfloat16)) for name, tensor in weights)
        if self._ranks.size == 1:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": in_bf16})
        else:
            with self._in_memory(in_bf16) as folder:
                self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        self._llm.reset_prefix_cache()

    def sample(
        self,
        prompts: Sequence[list[int]],
        seed: int,
        *,
        first: int = 0,
        greedy: bool = False,
        max_new_tokens: int | None = None,
    ) -> list[Rollout]:
        """One answer to each prompt. The same seed draws the same answers.

        The prompts are those from number `first` on of a longer list that several processes divide.
        """
        from vllm import SamplingParams

        if not prompts:
            return []
        # In this process the engine draws from torch's generator, which is ours too. A child's engine begins
        # before it has heard of all prompts, so there each has a generator of its own.
        apart = self._ranks.size > 1
        parameters = [
            SamplingParams(
                max_tokens=max_new_tokens or self._config.max_new_tokens,
                temperature=0.0 if greedy else self._config.temperature,
                seed=seed * 100_003 + index if apart else None,
                logprobs=0,
                detokenize=False,
            )
            for index in range(first, first + len(prompts))
        ]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            outputs = self._llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts], parameters, use_tqdm=False
            )
        return [_rollout(prompt, out.outputs[0]) for prompt, out in zip(prompts, outputs, strict=True)]

    @contextmanager
    def _in_memory(self, weights: Weights) -> Iterator[Path]:
        """A folder with the weights that all ranks of this machine read; gone when all have."""
        machine = socket.gethostname()
        folders: list[tuple[str, str]] = []
        if os.environ.get("LOCAL_RANK", "0") == "0":
            folders = [(machine, tempfile.mkdtemp(dir=MEMORY if MEMORY.exists() else None))]
        try:
            # Every rank reads them all: under ZeRO-3 each has a part.
            tensors = {name: tensor.cpu().clone() for name, tensor in weights if folders}
            for _, folder in folders:
                save_file(tensors, Path(folder) / "model.safetensors")
            yield Path(dict(self._ranks.joined(folders))[machine])
            self._ranks.joined([])
        finally:
            for _, folder in folders:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _as_if_alone() -> Iterator[None]:
    """Hides the launcher from a child that is started here, and shows it this rank's GPU only."""
    hidden = {name: os.environ.pop(name) for name in LAUNCHED if name in os.environ}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.cuda.is_available():
        own = torch.cuda.current_device()
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[own] if visible else str(own)
    try:
        yield
    finally:
        os.environ |= hidden
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _rollout(prompt: list[int], output: Any) -> Rollout:
    ids = [int(token) for token in output.token_ids]
    logprobs = [float(row[token].logprob) for token, row in zip(ids, output.logprobs, strict=True)]
    return Rollout(prompt, ids, logprobs, output.finish_reason == "stop")
