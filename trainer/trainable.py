"""Trainable: a loaded model made ready for its gradients, as [scale] says."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from trainer.config import ScaleConfig
from trainer.errors import ModelError
from trainer.lora import add_adapters
from trainer.models import backbone_of

Model = TypeVar("Model", bound=nn.Module)


def trainable(model: Model, scale: ScaleConfig, seed: int) -> Model:
    """The model with adapters for `lora_rank`, and layers that are run again for `gradient_checkpointing`.

    Args:
        seed: of the adapters.

    Raises:
        ModelError: the model cannot be trained so.
    """
    if scale.lora_rank > 0:
        base_dtype = torch.bfloat16 if scale.precision == "bf16" else torch.float32
        add_adapters(model, scale.lora_rank, scale.lora_alpha, seed=seed, base_dtype=base_dtype)
    if scale.gradient_checkpointing:
        recompute_activations(model)
    return model


def recompute_activations(model: nn.Module) -> None:
    """Gradient checkpointing (arXiv 1604.06174): a layer keeps its input only and runs again for gradients.

    Raises:
        ModelError: the model has no such layers, or they have a dropout of their own.
    """
    backbone = backbone_of(model)
    try:
        # Not reentrant: the first layer's input needs no gradient then, as under LoRA it has none.
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise ModelError(f"{error} Set scale.gradient_checkpointing to false.") from error
    layers = [part for part in backbone.modules() if isinstance(part, GradientCheckpointingLayer)]
    for layer in layers:
        for name, value in vars(layer).items():
            if "drop" in name and isinstance(value, float) and value > 0:
                raise ModelError(
                    f"{type(layer).__name__} has a {name} of {value:g} of its own, which gradient "
                    "checkpointing would turn on. Set scale.gradient_checkpointing to false."
                )
        # transformers runs a layer again only in training mode, and ours are in eval mode, so that dropout is
        # off. This is the flag of the layer alone: the dropout modules inside it stay in eval mode.
        layer.training = True
    if not layers:
        raise ModelError(
            f"{type(backbone).__name__} has no layers to run again. "
            "Set scale.gradient_checkpointing to false."
        )
