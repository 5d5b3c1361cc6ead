"""Memory plan: what a training will take in each process, computed before it starts.

The trainer's own code makes the models from config.json and takes gradient passes on tensors without data
(FakeTensorMode): no weight is loaded; adapters, checkpointing, precision and shapes count as they will be.
Only the engine, DeepSpeed's buffers and the libraries are figures of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from trainer.attention import use_products
from trainer.config import RolloutConfig, ScaleConfig, TrainerConfig
from trainer.folders import read_config
from trainer.models import Model, RewardModel, cast_to_bf16, frozen
from trainer.norms import use_norms
from trainer.passes import activation_bytes, policy_pass, ranking_pass, without_data
from trainer.samplers import chosen_engine
from trainer.trainable import trainable
from trainer.vllm_sampler import GPU_SHARE, cpu_cache_gib

GIB = 2**30
LIBRARIES = int(0.5 * GIB)
"""Resident memory of Python, torch and transformers before a model is loaded."""
VLLM_LIBRARIES = int(0.4 * GIB)
"""What vLLM adds to it."""
ZERO_BUCKET = 500_000_000
"""Gradients that DeepSpeed collects before it sends them to their shards (`reduce_bucket_size`)."""
ZERO_LIVE = 1_000_000_000
"""Weights that ZeRO-3 keeps gathered at most (`stage3_max_live_parameters`)."""

Stage = Literal["ppo", "reward"]
Place = Literal["device", "host"]
"""The memory of the device that trains, or the CPU's; on a machine without a GPU they are the same."""


class Part(NamedTuple):
    """What one thing takes in one process."""

    name: str
    size: int
    """Bytes."""
    place: Place = "device"


@dataclass(frozen=True)
class Plan:
    """The memory of one process."""

    how: str
    """Such as "full, ZeRO-3 on 8 processes"."""
    parts: Sequence[Part]

    def gib(self, place: Place) -> float:
        """All that is in one place."""
        return sum(part.size for part in self.parts if part.place == place) / GIB

    def __str__(self) -> str:
        text = f"{self.how}: about {self.gib('device'):.1f} GiB each: {self._list('device')}"
        if self.gib("host") > 0:
            text += f"; and {self.gib('host'):.1f} GiB of the CPU's memory: {self._list('host')}"
        return text

    def _list(self, place: Place) -> str:
        own = [part for part in self.parts if part.place == place and part.size > 0]
        return ", ".join(f"{part.name} {part.size / GIB:.1f}" for part in own)


class Size(NamedTuple):
    """A model that is trained."""

    numbers: int
    """Weights there are."""
    learned: int
    """Weights that are trained: each has a gradient and two moments in fp32."""
    masters: int
    """Those of them that are in bf16, with an fp32 copy each."""
    weights: int
    """Bytes of all weights and buffers."""


def plan_ppo(policy: Path, config: TrainerConfig, processes: int, device: torch.device) -> Plan:
    """PPO-max of a policy folder, of which only config.json is read; the reward model has the same shape."""
    scale = config.scale
    with torch.device("meta"):
        actor = _taught(_empty_policy(policy), scale)
        critic = _taught(_empty_reward_model(policy), scale)
        judges = [
            frozen(_empty_policy(policy), scale.precision),
            frozen(_empty_reward_model(policy), scale.precision),
        ]
    published = sum(tensor.numel() for tensor in judges[0].state_dict().values())
    sizes = [_size(actor), _size(critic)]
    with FakeTensorMode():
        actor = without_data(actor, device)
        # The critic reads the same tokens without an LM head: its pass is the smaller one.
        activations = activation_bytes(actor, policy_pass(actor, config, device), scale)
    parts = [
        *_learning(sizes, activations, scale, processes, device),
        Part("reference and reward model", sum(_size(judge).weights for judge in judges)),
        Part("last good weights", 2 * published, "host"),
        _engine(sizes[0].numbers, config.rollout, device),
        Part("libraries", LIBRARIES + VLLM_LIBRARIES, "host"),
    ]
    return _plan(scale, processes, device, parts)


def plan_reward(policy: Path, config: TrainerConfig, processes: int, device: torch.device) -> Plan:
    """A reward model that starts as this policy."""
    with torch.device("meta"):
        model = _taught(_empty_reward_model(policy), config.scale)
    sizes = [_size(model)]
    with FakeTensorMode():
        model = without_data(model, device)
        activations = activation_bytes(model, ranking_pass(model, config, device), config.scale)
    parts = _learning(sizes, activations, config.scale, processes, device)
    return _plan(config.scale, processes, device, [*parts, Part("libraries", LIBRARIES, "host")])


PLANNERS: dict[Stage, Callable[[Path, TrainerConfig, int, torch.device], Plan]] = {
    "ppo": plan_ppo,
    "reward": plan_reward,
}


def _taught(model: Model, scale: ScaleConfig) -> Model:
    """As the backend holds it; ZeRO has fp32 weights."""
    model = trainable(model, scale, seed=0)
    if scale.zero_stage == 0 and scale.precision == "bf16":
        cast_to_bf16(model)
    return model


def _size(model: nn.Module) -> Size:
    weights = list(model.parameters())
    learned = [weight for weight in weights if weight.requires_grad]
    return Size(
        numbers=sum(weight.numel() for weight in weights),
        learned=sum(weight.numel() for weight in learned),
        masters=sum(weight.numel() for weight in learned if weight.dtype == torch.bfloat16),
        weights=sum(tensor.nbytes for tensor in [*weights, *model.buffers()]),
    )


def _learning(
    sizes: Sequence[Size], activations: int, scale: ScaleConfig, processes: int, device: torch.device
) -> list[Part]:
    """The models that are trained; their passes are never at once."""
    stage = scale.zero_stage

    def shared(size: int, first: int) -> int:
        return size // processes if stage >= first else size

    learned = [size.learned for size in sizes]
    # Cleared before the other model's pass; but under ZeRO-3 each engine keeps room for its own.
    gradients = 4 * (sum(learned) if stage == 3 else max(learned))
    # AdamW's two moments in fp32; ZeRO-1 and ZeRO-2 step on a copy of their shard of the weights.
    moments = (12 if stage in (1, 2) else 8) * sum(learned)
    return [
        Part("weights", shared(sum(size.weights for size in sizes), 3), _waits(scale.offload == "weights")),
        Part("master weights", 4 * sum(size.masters for size in sizes)),
        Part("gradients", shared(gradients, 2)),
        Part("optimiser", shared(moments, 1), _waits(scale.offload != "none")),
        Part("activations", activations),
        Part("DeepSpeed's buffers", _buffers(sizes, stage, device)),
    ]


def _waits(offloaded: bool) -> Place:
    return "host" if offloaded else "device"


def _buffers(sizes: Sequence[Size], stage: int, device: torch.device) -> int:
    """Gradients on their way to a shard, and under ZeRO-3 the weights of the model that is read."""
    if stage == 0:
        return 0
    # The CPU gives memory to what is written only, a GPU to what is asked for.
    buckets = [
        4 * (min(ZERO_BUCKET, size.learned) if device.type == "cpu" else ZERO_BUCKET) for size in sizes
    ]
    if stage < 3:
        return max(buckets)
    return sum(buckets) + max(size.weights * min(size.numbers, ZERO_LIVE) // size.numbers for size in sizes)


def _engine(parameters: int, rollout: RolloutConfig, device: torch.device) -> Part:
    """What draws the answers."""
    if chosen_engine(rollout) == "transformers":
        return Part("engine", 4 * parameters, "host")
    if device.type == "cuda":
        return Part("engine", int(GPU_SHARE * torch.cuda.mem_get_info()[1]))
    return Part("engine", 2 * parameters + cpu_cache_gib() * GIB, "host")


def _plan(scale: ScaleConfig, processes: int, device: torch.device, parts: list[Part]) -> Plan:
    trained = f"LoRA of rank {scale.lora_rank}" if scale.lora_rank else "full"
    zero = f", ZeRO-{scale.zero_stage}" if scale.zero_stage else ""
    how = f"{trained}{zero} on {processes} {'process' if processes == 1 else 'processes'}"
    return Plan(how, [part._replace(place="device") for part in parts] if device.type == "cpu" else parts)


def _empty_policy(folder: Path) -> PreTrainedModel:
    return _empty(AutoModelForCausalLM, folder)


def _empty_reward_model(folder: Path) -> RewardModel:
    return RewardModel(_empty(AutoModelForSequenceClassification, folder, num_labels=1))


def _empty(kind: Any, folder: Path, **changes: Any) -> PreTrainedModel:
    """A model with the shapes of config.json and no data."""
    read_config(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, **changes)
    model: nn.Module = kind.from_config(config, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    model.train(False)
    use_products(model)
    use_norms(model)
    return model
