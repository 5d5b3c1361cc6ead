"""Passes: the largest gradient pass of each model that is trained, and what it takes.

They run on tensors without data (FakeTensorMode) as on real ones, through the trainer's own forward passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.config import ScaleConfig, TrainerConfig
from trainer.data import Batch
from trainer.live_bytes import LiveBytes
from trainer.minibatches import GRADIENT_PART
from trainer.models import RewardModel, backbone_of
from trainer.tensors import logprobs_and_entropy

Model = TypeVar("Model", bound=nn.Module)


def activation_bytes(model: nn.Module, one_pass: Callable[[], Tensor], scale: ScaleConfig) -> int:
    """What a gradient pass takes at its height, beside the weights and their gradients.

    The gradients are there before, as in every pass of a step but the first.

    Args:
        model: without gradients; with real tensors, or from `without_data` inside the same FakeTensorMode.
    """
    if scale.zero_stage == 3 and scale.precision == "bf16":
        _drop_copies(model)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in learned:
        weight.grad = torch.zeros_like(weight)
    gradients = [weight.grad for weight in learned if weight.grad is not None]
    with LiveBytes([*model.parameters(), *model.buffers(), *gradients]) as live:
        one_pass().backward()
    model.zero_grad(set_to_none=True)
    peak: int = live.peak
    return peak


def without_data(model: Model, device: torch.device) -> Model:
    """Gives a model from the meta device tensors of a device, as a FakeTensorMode makes them. Ties stay."""
    made: dict[int, Tensor] = {}

    def twin(old: Tensor) -> Tensor:
        if id(old) not in made:
            new = torch.empty(old.shape, dtype=old.dtype, device=device)
            made[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        return made[id(old)]

    for part in model.modules():
        for name, old in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            setattr(part, name, twin(old))
    return model


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
            values: Tensor = critic(**batch.inputs())
        return values.sum()

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
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, -1] = False  # without padding no mask of the attention would be made
    return Batch(ids, mask, torch.arange(tokens // count, device=device).expand(count, -1))
