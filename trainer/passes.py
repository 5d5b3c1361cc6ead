"""Passes: the largest gradient pass of each model that is trained, and what it takes.

They run on tensors without data (FakeTensorMode) as on real ones, through the trainer's own forward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.config import ScaleConfig, TrainerConfig
from trainer.data import Batch
from trainer.live_bytes import LiveBytes, stored_bytes
from trainer.minibatches import GRADIENT_PART
from trainer.models import RewardModel, backbone_of
from trainer.tensors import logprobs_and_entropy


class Cost(NamedTuple):
    """A model that is trained, on one process that shares nothing."""

    numbers: int
    """Weights there are."""
    learned: int
    """Weights that are trained: each has a gradient and two moments in fp32."""
    weights: int
    """Bytes of all weights."""
    activations: int
    """Bytes that a gradient pass takes at its height, beside the weights and their gradients."""


def cost(model: nn.Module, one_pass: Callable[[], Tensor], scale: ScaleConfig) -> Cost:
    """Takes two gradient passes of a model: the second adds to the gradients of the first, as most do."""
    weights = model_bytes(model)
    if scale.zero_stage == 3 and scale.precision == "bf16":
        _drop_copies(model)
    with LiveBytes([*model.parameters(), *model.buffers()]) as live:
        one_pass().backward()
        live.peak = 0
        one_pass().backward()
    gradients = stored_bytes(weight.grad for weight in model.parameters() if weight.grad is not None)
    model.zero_grad(set_to_none=True)
    return Cost(
        numbers=sum(weight.numel() for weight in model.parameters()),
        learned=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        weights=weights,
        activations=live.peak - gradients,
    )


def model_bytes(model: nn.Module) -> int:
    """Of its weights and buffers."""
    return stored_bytes([*model.parameters(), *model.buffers()])


def policy_pass(policy: PreTrainedModel, config: TrainerConfig, device: torch.device) -> Callable[[], Tensor]:
    """The largest gradient pass of the policy in PPO, as if all prompts were short: most logits."""
    ppo, rollout = config.ppo, config.rollout
    longest = rollout.max_prompt_tokens + rollout.max_new_tokens
    batch = _batch(ppo.micro_batch_tokens // GRADIENT_PART, longest, ppo.minibatch, device)
    tokens = batch.input_ids.flatten()[: ppo.minibatch * rollout.max_new_tokens]

    def run() -> Tensor:
        with _precision(config, device):
            hidden = backbone_of(policy)(**batch.inputs(), use_cache=False).last_hidden_state
            head = policy.get_output_embeddings()
            assert head is not None
            picked = hidden.flatten(0, 1)[torch.arange(len(tokens), device=device)]
            logprobs, entropy = logprobs_and_entropy(
                picked, head, tokens, rollout.temperature, entropy_gradient=ppo.entropy_coef > 0
            )
        return (logprobs + entropy).sum()

    return run


def critic_pass(critic: RewardModel, config: TrainerConfig, device: torch.device) -> Callable[[], Tensor]:
    """The largest gradient pass of the critic."""
    longest = config.rollout.max_prompt_tokens + config.rollout.max_new_tokens
    batch = _batch(config.ppo.micro_batch_tokens // GRADIENT_PART, longest, config.ppo.minibatch, device)

    def run() -> Tensor:
        with _precision(config, device):
            return critic(**batch.inputs()).sum()

    return run


def ranking_pass(model: RewardModel, config: TrainerConfig, device: torch.device) -> Callable[[], Tensor]:
    """The largest gradient pass of a reward model: rows of a prompt and its answers, with their mask."""
    reward = config.reward
    batch = _batch(reward.micro_batch_tokens, 2 * reward.max_tokens, reward.batch_pairs, device)
    rows, width = batch.input_ids.shape
    mask = torch.ones(rows, 1, width, width, dtype=torch.bool, device=device)

    def run() -> Tensor:
        with _precision(config, device):
            hidden = model.hidden(batch.input_ids, mask, batch.position_ids)
        return model.value(hidden[:, -1]).sum()

    return run


def _drop_copies(model: nn.Module) -> None:
    """Autocast keeps a bf16 copy of each matrix for the backward pass; ZeRO-3's linear layers do not."""
    for part in model.modules():
        if isinstance(part, nn.Linear) and part.out_features > 1:
            part.weight = nn.Parameter(part.weight.to(torch.bfloat16), part.weight.requires_grad)


def _precision(config: TrainerConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.scale.precision == "bf16")


def _batch(limit: int, longest: int, rows: int, device: torch.device) -> Batch:
    """As many tokens as a pass may hold: `limit`, or one sequence that is longer, or all `rows` there are."""
    tokens = min(max(limit, longest), rows * longest)
    count = max(1, tokens // longest)
    ids = torch.zeros(count, tokens // count, dtype=torch.int64, device=device)
    positions = torch.arange(tokens // count, device=device).expand(count, -1)
    return Batch(ids, torch.ones_like(ids, dtype=torch.bool), positions)
